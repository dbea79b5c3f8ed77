package controller

import (
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/access"
	"github.com/ebbtide/ebbtide/broker/internal/replica"
)

// The flags stand in for the file, and what they cannot mean is refused.
func TestOverride(t *testing.T) {
	for name, test := range map[string]struct {
		file, ack, listen string
		election          bool
		want              Ack
		wrong             string
	}{
		"nothing":            {ack: "", want: AckLocal},
		"local":              {file: "{ack: Replica, replica: {bindAddress: \":8444\"}}", ack: "local", want: AckLocal, election: true},
		"replica":            {file: "{replica: {bindAddress: \":8444\"}}", ack: "replica", want: AckReplica, election: true},
		"all by flags":       {ack: "Replica", listen: ":8444", want: AckReplica, election: true},
		"nobody is elected":  {listen: ":8444", wrong: "needs leaderElection"},
		"without a listener": {ack: "replica", election: true, wrong: `--ledger-ack=replica --replica-listen=: ledger.ack: Invalid value: "Replica": needs replica.bindAddress`},
		"another word":       {ack: "both", election: true, wrong: `ledger.ack: Invalid value: "both": must be Local or Replica`},
	} {
		t.Run(name, func(t *testing.T) {
			text := head
			if test.file != "" {
				text += "ledger: " + test.file + "\n"
			}
			c, err := ParseConfig([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			err = c.Ledger.Override(test.ack, test.listen, "10.0.0.1", test.election)
			if (err != nil) != (test.wrong != "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Fatalf("Override: %v, want %q in it", err, test.wrong)
			}
			if err == nil && (c.Ledger.Ack != test.want || c.Ledger.Replica.AdvertiseHost != "10.0.0.1") {
				t.Errorf("the configuration is %+v", c.Ledger)
			}
		})
	}
}

func TestInvalidReplica(t *testing.T) {
	for text, want := range map[string]string{
		"ledger: {ack: Both}":                    `ledger.ack: Invalid value: "Both": must be Local or Replica`,
		"ledger: {ack: Replica}":                 "needs replica.bindAddress",
		"ledger: {ackTimeout: 0s}":               "ledger.ackTimeout: Invalid value",
		"ledger: {replica: {bindAddress: here}}": "must be host:port, or empty",
		"ledger: {replica: {bindAddress: \":1\"}}\nleaderElection: {enabled: false}": "needs leaderElection",
	} {
		if _, err := ParseConfig([]byte(head + text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

// Followers are asked who they are, on each route.
func TestReplicaRoutes(t *testing.T) {
	routes := replicaRoutes(replica.NewServer(1))
	if len(routes) != 2 {
		t.Fatalf("%d routes", len(routes))
	}
	for _, r := range routes {
		if r.Rule != access.Path {
			t.Errorf("%s has the rule %s", r.Pattern, r.Rule)
		}
	}
}
