// Package loopback serves a broker's page to the browser of whoever runs it, on his machine
// alone.
//
// It listens on 127.0.0.1 and passes on what it is asked, as it comes and for as long as that
// takes. It promises that nobody gets anything by it that he could not get from the broker: it
// shows the broker nobody. Who is at the browser signs in to the page, as he does where the
// broker is reached in another way, and the page shows his token with each question. A secret
// in the address, by which whoever has it asks as the one who typed the command, would spare him
// that; but it would have to be kept from the browser's history, from screens that are shared
// and from everybody else on the machine, for as long as the command runs, and it would be as
// good as all that its owner may see. Without one, another user of the machine finds the page's
// files there, which are for anybody.
//
// It refuses what another site has the browser ask: a request for another host than 127.0.0.1 or
// localhost with its port (a name that was bound to this address later), one whose Origin or
// Sec-Fetch-Site is not its own, and everything but GET and HEAD. Of a request the broker gets
// the path, the query and four headers; no cookie, of which a browser keeps one set for all
// ports of a machine.
//
// It does not keep the port when it ends. Who takes it next, and that may be somebody else of
// the machine, hears what a page that is still open asks, with its token: so the port is another
// one each time, and tokens should be good for the broker alone.
package loopback
