// Package backlog reads how much work waits in queues outside the cluster: the length
// of a Redis list, and the lag of a Kafka consumer group.
//
// It promises that it connects only to what the broker's configuration names: a policy
// picks a backend by name and a list, or a group and a topic, on it. A server that does
// not answer, that refuses the password, and a group or topic that it does not know are
// errors and never 0. Every question is bounded by a timeout, and the number of
// connections of a backend by a pool. A reading is as old as the question.
//
// Two zeros cannot be told from others: Redis deletes a list when its last element is
// taken, so a list that never was is as empty as one that is empty now. And a Kafka
// partition that a group never committed counts from its first record that still
// exists, whatever the group's reset policy: too much rather than too little.
package backlog
