package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"

	"ibconn/consumers/metrics"
)

// described are the names of all metrics, as a scrape has them.
func described(t *testing.T) map[string]bool {
	t.Helper()
	ch := make(chan *prometheus.Desc, 1000)
	metrics.New(nil).Describe(ch)
	close(ch)
	names := make(map[string]bool)
	for d := range ch {
		name := regexp.MustCompile(`fqName: "([a-z_0-9]+)"`).FindStringSubmatch(d.String())[1]
		names[name] = true
		if strings.HasSuffix(name, "_seconds") {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[name+part] = true
			}
		}
	}
	return names
}

// What is deployed beside ibconn speaks of metrics that there are.
func TestWhatIsDeployedUsesMetricsThatThereAre(t *testing.T) {
	names := described(t)
	used := make(map[string]bool)
	for _, file := range []string{"../../deploy/prometheus/ibconn.rules.yml", "../../deploy/grafana/ibconn.json", "../../README.md"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bibconn_[a-z_0-9]+`).FindAllString(string(b), -1) {
			used[name] = true
			if !names[name] {
				t.Errorf("%s uses %s, which there is not", file, name)
			}
		}
	}
	if len(used) < 15 {
		t.Errorf("only %d metrics are used: %v", len(used), used)
	}
}

// Each alert says what is wrong and what to do, and the dashboard's panels all ask
// for something.
func TestWhatIsDeployedIsWhole(t *testing.T) {
	b, err := os.ReadFile("../../deploy/prometheus/ibconn.rules.yml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(b, &rules); err != nil || len(rules.Groups) != 1 || len(rules.Groups[0].Rules) < 8 {
		t.Fatalf("the rules are %+v, %v", rules, err)
	}
	for _, r := range rules.Groups[0].Rules {
		if r.Alert == "" || r.Expr == "" || r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["action"] == "" {
			t.Errorf("the alert %+v lacks something", r)
		}
	}
	b, err = os.ReadFile("../../deploy/grafana/ibconn.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			ID      int
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil || len(dashboard.Panels) < 10 {
		t.Fatalf("the dashboard is %+v, %v", dashboard, err)
	}
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		if p.Title == "" || ids[p.ID] || len(p.Targets) == 0 || p.Targets[0].Expr == "" {
			t.Errorf("the panel %+v lacks something, or has another's id", p)
		}
		ids[p.ID] = true
	}
}
