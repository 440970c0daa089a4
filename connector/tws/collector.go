package tws

import (
	"slices"
	"sync"
)

// collector collects what a gateway sends one by one in answer to requests,
// until it says that all came. It keeps the first ones of each request and
// counts the rest. Errors may come from any goroutine, so it has a lock.
type collector[T any] struct {
	requests int // whose answers are collected at once; the oldest gives way, as one whose end never came
	each     int // kept of one request

	mu  sync.Mutex
	all []collection[T] // the oldest first
}

type collection[T any] struct {
	id    int64
	found []T
	total int
}

// add takes one for a request. It is made only if it is kept.
func (c *collector[T]) add(id int64, one func() T) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(id)
	if i < 0 {
		if len(c.all) >= c.requests {
			c.all = slices.Delete(c.all, 0, 1)
		}
		i = len(c.all)
		c.all = append(c.all, collection[T]{id: id})
	}
	of := &c.all[i]
	of.total++
	if len(of.found) < c.each {
		of.found = append(of.found, one())
	}
}

// take returns what came for a request, and forgets it.
func (c *collector[T]) take(id int64) (found []T, total int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.index(id)
	if i < 0 {
		return nil, 0
	}
	of := c.all[i]
	c.all = slices.Delete(c.all, i, i+1)
	return of.found, of.total
}

func (c *collector[T]) index(id int64) int {
	return slices.IndexFunc(c.all, func(of collection[T]) bool { return of.id == id })
}
