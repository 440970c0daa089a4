// Package ibc asks IBC to work the gateway's windows. IBC
// (https://github.com/IbcAlpha/IBC) is the program that many run TWS or IB
// Gateway under; its command server takes a command as one line over TCP, and
// answers with another.
//
//	client := &ibc.Client{Address: "127.0.0.1:7462"}
//	if err := client.Validate(); err != nil { ... }
//	said, err := client.Send(ctx, ibc.Restart)
//
// It is a connector.Controller:
//
//	runner.Control = client
//
// # What IBC's side takes
//
//   - The command server is off unless CommandServerPort is set in IBC's
//     config.ini; most set 7462.
//   - There is no authentication. IBC closes at once, without a word, what comes
//     from an address that is neither 127.0.0.1, nor its BindAddress, nor listed
//     in ControlFrom. It takes ::1, which "localhost" may mean, for a stranger.
//   - It presses keys and moves settings, and does not wait for what they lead
//     to: an OK says that IBC did its part.
//   - RECONNECTDATA and RECONNECTACCOUNT are pressed in the gateway's main
//     window. While there is none, as before the login, IBC does not answer at
//     all; RECONNECTACCOUNT is then carried out whenever the window comes.
//   - RESTART uses the menu where there is one, which is in TWS. For IB Gateway
//     it sets the stored auto-restart time to one or two minutes from now. From
//     then on the gateway restarts at that time every day, until somebody sets it
//     back or IBC starts the gateway anew with AutoRestartTime set.
//
// # What it guarantees
//
//   - A command is sent once, over a connection of its own. What became of it is
//     told apart: done, refused, never sent, or not known ([Problem]).
//   - It sends nothing but the three commands above: IBC can also stop the gateway
//     and change its settings, and nothing here can have it do so.
//   - A call ends within its time, and when its context does, and leaves no
//     goroutine or socket behind. It reads 64 KiB at most, whatever comes.
//   - IBC's words come as one line of printable text, at most 500 bytes long,
//     account ids masked.
//
// # Non-obvious
//
//   - An answer may have things in front of it: lines of INFO, and on its own line
//     the prompt (CommandPrompt), which can be anything. So OK and ERROR are looked
//     for anywhere in a line, and a line with both is a refusal, as a prompt may
//     say OK.
//   - An answer ends with its line. What is cut off before that might be a prompt,
//     and is no answer.
//   - No answer and a closed connection leave open whether the command was carried
//     out. Only a connection that was never made leaves no doubt.
package ibc
