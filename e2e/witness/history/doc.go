// Package history is what the API server let everybody see, put in order.
//
// It watches all kinds that the laws are about, by watches of its own that come back as soon
// as the API server does: the usual caches wait up to a minute after an outage, each for
// another time, and would show states that never were. Changes of all kinds are held back
// for a moment and handed on by revision, which is etcd's one order.
//
// It promises each change once and in order of its kind. A watch may be seconds behind another
// on a busy machine: then changes are handed on late, and InOrder has their order. What
// changed while no watch could be held, and was changed again, nobody saw: then only the last
// state is handed on, and what was deleted meanwhile counts as deleted when the watch was
// lost. An event says between when it happened, by what the API server said at what time of
// its last revision: what it did just before it was killed or frozen is heard of when it
// answers again. It knows no rules.
package history
