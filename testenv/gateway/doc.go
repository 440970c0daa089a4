// Package gateway is a simulated TWS / IB Gateway: it speaks IB's protocol over TCP to any client of it, makes up a market,
// and misbehaves on command. It exists so that what talks to Interactive Brokers can be tested without them, most of
// all on the days that do not go well.
//
// The one idea: the simulation is written once, in IB's own protobuf messages, and two encodings only translate. What a
// gateway does wrong is kept apart from what it says, so any fault can meet any client in any state.
//
//	g := gateway.Start(t, gateway.Config{ServerVersion: 176}) // ends, and checks for leaks, with the test
//	client.Connect(g.Addr())
//	g.Error(-1, 2103, "Market data farm connection is broken:usfarm")
//	g.LoseLink(true)                                             // 1100, and what needs IB's servers gets no answer
//	g.Reset()                                                    // and now the connection is gone too
//	g.On(gateway.ReqCurrentTime, 1, gateway.Drop())              // the next heartbeat gets no answer
//	if n := g.Stats().Foreign; n > 0 { ... }                     // somebody dialled without a handshake
//
// A program uses New, Listen and Run instead of Start.
//
// # Versions
//
// The gateway speaks server version 176, which is text, and 213 to 225, which are protobuf. It answers a client the lower
// of its own version and the client's highest. Between 177 and 212 messages change their encoding one by one; there it
// answers 176, which the clients of those versions speak too. A client that cannot go that low is closed, as
// is one that asks for less than 176. Proven against github.com/scmhub/ibapi (225) and @stoqey/ib (up to 193).
//
// # What it answers
//
// After startApi: managedAccounts, farm notices 2104, 2106 and 2158, or 2110 without a link, nextValidId. Then
//
//   - reqCurrentTime and reqCurrentTimeInMillis, each at most once per Config.TimeSpacing: IB does not answer sooner;
//   - reqMktData: parameters, data type, a tick of every kind, then bid, ask and last in turn; snapshots; reqMarketDataType
//     3 and 4 give delayed ticks; generic tick 233. reqTickByTickData of all four types, without past ticks;
//   - reqRealTimeBars, and reqHistoricalData with every duration and bar size of IB, both date formats and keepUpToDate,
//     showing TRADES, MIDPOINT, BID, ASK, BID_ASK or ADJUSTED_LAST; reqHeadTimestamp, which stays open until it is cancelled;
//   - reqContractDetails and reqMatchingSymbols over AAPL, MSFT, SPY (STK, SMART), EUR.USD (CASH, IDEALPRO) and the next two
//     quarterly ES (FUT, CME);
//   - reqIds, reqManagedAccts, setServerLogLevel; and the requests with which some clients begin: reqPositions, the orders
//     requests, reqAccountUpdates(Multi) and reqExecutions have empty results.
//
// Errors are IB's: 200 for an unknown or ambiguous contract, 322 for a ticker id in use, 300 and 366 for a cancel of
// nothing, 162, 321 and 10314 for history that cannot be had, 162 for a span without data and for the cancel of a query, 326 for a client id in use, 320 for what cannot be read. All
// other requests get a 321 that says so. Requests that would act on an order get the 321 of a read-only API and are
// counted by Orders.
//
// With Config.MaxRate, a message over that many within any one second is answered with error 100, which says how many came
// and which breach of its session it is, and has no other effect; the third breach ends the session, as in IB's "reject" mode.
// Every message after the hello counts, startApi and what is in breach included. Each message over the rate is a breach, so
// that one burst of three too many ends a session; reports of real gateways, such as "max=50 rec=138 (1)", show that they look
// less often. IB's page words the limit per client connection; here it is that of all clients together, since others saw
// gateways hang on less.
//
// With Config.HistoryPacing, IB's rules on history hold for all clients together, and Stats.Pacing counts what was broken. For
// bars of 30 s or less and for every head timestamp: the same request again within 15 s, the sixth for one contract, exchange
// and kind of data within 2 s, and a sum of more than 60 within 10 minutes, BID_ASK counting twice, are answered with 162 "...
// pacing violation". What breaks a rule counts like any other request, so that who only tries again stays in violation. Bars so
// small that begin more than six months ago have no data, which is 162 too. More than 50 open requests of any size get 322;
// those kept up to date and head timestamps are open until they are cancelled, those held by On until they are answered. More
// than 60 new requests for real-time bars within 10 minutes get 420. What the gateway refuses by itself is not counted: 200,
// 321, 322, 10314, and 101. IB enforces the same on longer bars only softly, and this gateway does not.
//
// With Config.Lines, market data and real-time bars hold a line each until they are cancelled, and a snapshot needs one that is
// free; beyond, 101. Tick-by-tick has a limit of its own, one for each 100 lines, but 3 at least and 60 at most; beyond, 10190,
// as for a second request for one instrument within 15 s, for which IB documents no code.
//
// # Market
//
// Prices depend on Config.Seed, the instrument and the time, and on nothing else: every client sees the same
// market, a real-time bar equals the bar of history for the same time, and longer bars add up from shorter ones. Data begins
// when AAPL, MSFT and SPY were listed, with EUR.USD on 9 March 2005, and five years before a future expires.
//
// The market never closes, so useRTH changes nothing, unless there is Config.Hours. Then each market is open from Monday to
// Friday at the hours that contract details say, the same each week and without holidays, and what is outside is hidden and not
// moved: no ticks, no real-time bars, no history. Contract details show today and the five days that follow in the zone of the
// contract:
//
//	            zone        trading                         liquid, and with useRTH
//	stocks      US/Eastern  04:00-20:00                     09:30-16:00
//	ES          US/Central  17:00 the day before to 16:00   08:30-15:00
//	EUR.USD     US/Eastern  17:15 the day before to 17:00   the same
//
// # Faults
//
// Of the port: Refuse, OnAccept, Restart. Of the link to IB's servers: LoseLink, RestoreLink, Mislead. Of the user: Compete, a
// session elsewhere that takes the market data away. Of sessions, each for
// all or for some client ids: FIN, Reset, BurstThenFIN, CutMidFrame, OverlongFrame, Garbage, Error, Stall, Drip, Lag, Silence,
// Forget. Of single requests: On with Drop, Delay, Hold, ReplyError or Hang, until Off. Faults take effect in the order in
// which they are called. The ones that last also hold for connections accepted later, unless they were meant for certain
// clients.
//
// # Scenarios
//
// A scenario is a text file of what happens when, counted from its start:
//
//	at TIME FAULT [for TIME] [client ID...]
//	repeat every TIME
//
// One line is one fault; # begins a comment; times are written 500ms, 2s, 1m30s. The faults:
//
//	error ID CODE "TEXT"          silence TIME         restart TIME        accept close for TIME
//	fin                           stall TIME           refuse TIME         accept mute for TIME
//	reset                         forget               garbage BYTES       accept mute-after-greeting for TIME
//	burst TICKS                   cut                  overlong            accept close-after-startapi for TIME
//	drip BYTES TIME for TIME      mislead TIME         lag DELAY for TIME  link MODE for TIME
//	competing-session TIME
//
// The modes of link are lost and data-lost, with 1100 and at the end 1102 or 1101, and silently-lost and silently-data-lost,
// without a word. All but restart, refuse, accept, link, mislead and competing-session may end in client and one or more ids. With repeat, the
// scenario starts again and again. This is testdata/bad-night.scenario:
//
//	# A bad night: farms flap, the link goes, IB resets, the gateway restarts, and comes back only half.
//	at 5s   error -1 2103 "Market data farm connection is broken:usfarm"
//	at 5s   silence 3s
//	at 8s   error -1 2104 "Market data farm connection is OK:usfarm"
//	at 12s  link data-lost for 8s  # 1100, and 1101 when it is back
//	at 26s  stall 6s               # frozen: connected, and not a word
//	at 36s  reset
//	at 42s  restart 4s             # the daily one
//	at 46s  accept mute for 5s     # accepts while its login dialog is open
//	at 58s  burst 200              # last words in a hurry
//	at 66s  cut
//	at 74s  drip 7 20ms for 3s
//	at 77s  lag 300ms for 3s
//	at 80s  garbage 64
//	repeat every 90s
//
// # Guarantees
//
// Memory is bounded: a client's frames may have 1 MiB, its hello 64 KiB; the simulation waits when 1 MiB is unwritten, lagged or
// not; a client that takes nothing for 10 s is cut off. Everything ends with the context of Run, which waits for it.
//
// # Non-obvious
//
//   - A client id is free at once after the client's own FIN. After anything else it stays in use for Config.IDLinger,
//     and a client that comes back sooner meets 326, as with a real gateway. The default is 0: tests ask for it.
//   - A session that the gateway ends is drained for up to a second: a socket closed with unread bytes would send RST.
//   - While refusing, the port stays bound without listening, so that no other process is given it.
//   - Error only says what it says. 1100 does not stop the data and 1101 does not drop subscriptions: LoseLink and RestoreLink
//     do, and so do Silence and Forget without a word.
//   - What is asked for while the link is lost is not asked again when it is back: a subscription placed then is never made, and
//     a cancel of it gets 300. A tick that was being sent when the link was lost may follow the 1100.
//   - A gateway that has lost its link still answers the time, ids and accounts: a heartbeat proves the session, not the link.
//   - Messages are counted when they are taken up. Those that waited for a stalled session, or for one that was making years of
//     bars, are counted together, and may be too many together.
//   - Under Lag a session that the gateway ends stays open, and its client id in use, until its FIN was due. With a lag of d one
//     client can be sent at most 1 MiB each d.
//   - IB's rules on history go by when requests arrive by Config.Now, which may be closer together than they were sent. They
//     survive sessions and restarts, as IB's servers have them.
//   - A duration is counted by the calendar and not by the days of trading, as IB does: with Config.Hours a day that ends on a
//     Sunday has no data, and is not kept up to date either. Days, weeks and months then hold whole sessions, and a bar shorter than a day begins with the opening
//     if that comes later.
//   - While a market is closed a new subscription to market data gets its parameters and data type, and no tick.
//   - A competing session touches no history, not even what is kept up to date. What is asked for while it lasts begins with
//     ticks and not with the opening when it ends, and a snapshot is never made.
//   - Config.Now moves what the gateway says, not how long it waits. With BarEvery below 5 s real-time bars run ahead of
//     the clock, five seconds each.
//   - Bars of more than a day are added up from all the five second bars in them: ten years take seconds, and are the limit.
//   - History may be asked for up to an end in the future, and is given: the market is known already.
//   - errorTime is sent in protobuf, as gateways since 10.33 do; text 176 has no field for it.
package gateway
