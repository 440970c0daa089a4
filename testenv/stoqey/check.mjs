// Checks a gateway with @stoqey/ib. Usage: node check.mjs HOST PORT
// Prints one line for each check; exits 1 with the reason if one fails or all are not done within the deadline.

import { EventName, IBApi, SecType, Stock, BarSizeSetting } from "@stoqey/ib";

const DEADLINE_MS = 30_000;

const [host, port] = process.argv.slice(2);
if (!host || !/^\d+$/.test(port ?? "")) {
  console.error("usage: node check.mjs HOST PORT");
  process.exit(2);
}

const ib = new IBApi({ host, port: Number(port), clientId: 31, maxReqPerSec: 1000 }); // a rate of its own that is no limit
const aapl = new Stock("AAPL", "SMART", "USD");
const unknown = { symbol: "NOPE", secType: SecType.STK, exchange: "SMART", currency: "USD" };
let waitingFor = "connection";

function fail(reason) {
  console.error(`FAIL ${waitingFor}: ${reason}`);
  process.exit(1);
}

const deadline = setTimeout(() => fail(`nothing came within ${DEADLINE_MS} ms`), DEADLINE_MS);

// Resolves with the arguments of the first event that matches; errors the check did not ask for fail it.
function event(name, matches = () => true) {
  return new Promise((resolve) => {
    const listener = (...args) => {
      if (!matches(...args)) return;
      ib.off(name, listener);
      resolve(args);
    };
    ib.on(name, listener);
  });
}

async function check(what, request, answer, verify) {
  waitingFor = what;
  const answered = answer();
  request();
  const problem = verify(...(await answered));
  if (problem) fail(problem);
  console.log(`ok ${what}`);
}

let expectedError; // request id whose error is being waited for
ib.on(EventName.error, (error, code, id) => {
  const notice = code >= 2100 && code < 2200;
  if (!notice && id !== expectedError) fail(`error ${code} for request ${id}: ${error.message}`);
});
ib.on(EventName.disconnected, () => fail("the gateway closed the connection"));

// Both come with the greeting, so they are awaited before it is asked for.
const accounts = event(EventName.managedAccounts);
await check(
  "next valid id",
  () => ib.connect(),
  () => event(EventName.nextValidId),
  (id) => (id > 0 ? null : `id is ${id}`),
);
await check("accounts", () => {}, () => accounts, (list) => (list.includes("DU1234567") ? null : `accounts are ${list}`));
await check(
  "current time",
  () => ib.reqCurrentTime(),
  () => event(EventName.currentTime),
  (time) => (Math.abs(time - Date.now() / 1000) < 60 ? null : `time is ${time}`),
);
await check(
  "ticks",
  () => ib.reqMktData(1, aapl, "233", false, false),
  () => Promise.all([1, 2, 4].map((type) => event(EventName.tickPrice, (id, field) => id === 1 && field === type))),
  ([, , bid], [, , ask], [, , last]) => (0 < bid && bid < ask && bid <= last && last <= ask ? null : `bid ${bid}, ask ${ask}, last ${last}`),
);
ib.cancelMktData(1);
await check(
  "realtime bars",
  () => ib.reqRealTimeBars(2, aapl, 5, "TRADES", true),
  () => event(EventName.realtimeBar, (id) => id === 2),
  (_, time, open, high, low, close) =>
    time % 5 === 0 && low <= Math.min(open, close) && high >= Math.max(open, close) ? null : `bar ${[time, open, high, low, close]}`,
);
ib.cancelRealTimeBars(2);

const bars = [];
ib.on(EventName.historicalData, (id, time, open, high, low, close) => {
  if (id === 3 && !String(time).startsWith("finished")) bars.push({ time: Number(time), open, high, low, close });
});
await check(
  "historical bars",
  () => ib.reqHistoricalData(3, aapl, "", "3600 S", BarSizeSetting.MINUTES_ONE, "TRADES", 1, 2, false),
  () => event(EventName.historicalData, (id, time) => id === 3 && String(time).startsWith("finished")),
  () => {
    // Right after a full minute the hour's first bar is cut off and the present one has no trade yet.
    if (bars.length < 59 || bars.length > 61) return `${bars.length} bars, want an hour of minutes`;
    const odd = bars.findIndex((b, i) => (i > 0 && b.time !== bars[i - 1].time + 60) || !(b.low <= b.open && b.open <= b.high));
    return odd < 0 ? null : `bar ${odd} is ${JSON.stringify(bars[odd])}`;
  },
);
await check(
  "head timestamp",
  () => ib.reqHeadTimestamp(6, aapl, "TRADES", true, 2),
  () => event(EventName.headTimestamp, (id) => id === 6),
  (_, at) => (String(at) === "345479400" ? null : `AAPL since ${at}`),
);
ib.cancelHeadTimestamp(6);
await check(
  "contract details",
  () => ib.reqContractDetails(4, aapl),
  () => event(EventName.contractDetails, (id) => id === 4),
  (_, d) => (d.contract.conId === 265598 && d.longName === "APPLE INC" && d.minTick === 0.01 ? null : JSON.stringify(d)),
);
expectedError = 5;
await check(
  "error for an unknown symbol",
  () => ib.reqContractDetails(5, unknown),
  () => event(EventName.error, (_, __, id) => id === 5),
  (error, code) => (code === 200 && error.message.startsWith("No security definition") ? null : `error ${code} ${error.message}`),
);

await new Promise((resolve) => setTimeout(resolve, 1000)); // until none of the messages above counts any more
await check(
  "error for too many messages per second",
  () => {
    for (let i = 0; i < 51; i++) ib.reqIds();
  },
  () => event(EventName.info, (_, code) => code === 100), // which this client does not call an error, since it is of no request
  (message) => (message === "Max rate of messages per second has been exceeded:max=50 rec=51 (1)" ? null : message),
);

clearTimeout(deadline);
process.exit(0); // the socket is closed with the process
