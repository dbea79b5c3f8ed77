package scenarios

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

// second is the name of the other broker.
const second = "ebbtide-broker-2"

// pairProgram configures a broker that has another beside it.
func pairProgram(ledgerSettings map[string]any) *lab.Program {
	p := brokerProgram()
	alone := p.Config
	p.Config = func(e lab.Env) ([]byte, error) {
		text, err := alone(e)
		if err != nil {
			return nil, err
		}
		config := map[string]any{}
		if err := yaml.Unmarshal(text, &config); err != nil {
			return nil, err
		}
		address, err := e.Listen("replica")
		if err != nil {
			return nil, err
		}
		book := config["ledger"].(map[string]any)
		book["replica"] = map[string]any{"bindAddress": address}
		for key, value := range ledgerSettings {
			book[key] = value
		}
		return yaml.Marshal(config)
	}
	return p
}

// pair is a night town with two brokers, of which the first leads.
func pair(t *testing.T, nodes int, settings map[string]any) *town {
	t.Helper()
	return pairThrough(t, nodes, settings, nil)
}

// pairThrough is a pair whose brokers reach the API server through something.
func pairThrough(t *testing.T, nodes int, settings map[string]any, through func(lab.Env) (string, []byte, error)) *town {
	t.Helper()
	access, err := os.ReadFile("../../deploy/kustomize/components/two-brokers/access/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	d := newDial(t)
	first, other := pairProgram(settings), pairProgram(settings)
	first.Through, other.Through, other.Name = through, through, second
	w := raise(t, nodes, lab.Options{SDURL: d.server.URL + "/targets", Broker: first, Manifests: [][]byte{access}})
	w.dial = d
	d.follow(w.Client())
	w.awaitLeader(lab.Broker)
	if _, err := w.StartBroker(t.Context(), *other); err != nil {
		t.Fatal(err)
	}
	w.settle(int64(nodes) * 8)
	w.dial.set(2, 0)
	w.serve(1, 8, int64(nodes)*8)
	w.awaitBound(onlineNamespace, 1)
	return w
}

// awaitLeader waits until that broker leads.
func (w *town) awaitLeader(name string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		_, err := w.AskBroker(ctx, name, "/lenders")
		return err == nil, fmt.Sprintf("%s does not lead: %v", name, err)
	})
	w.leader = name
}

// metric is a number of one broker's; -1 if it has none.
func (w *town) metric(ctx context.Context, broker, name string) float64 {
	text, err := w.AskBroker(ctx, broker, "/metrics")
	if err != nil {
		return -1
	}
	for line := range strings.Lines(string(text)) {
		value := -1.0
		if rest, found := strings.CutPrefix(line, name+" "); found {
			if _, err := fmt.Sscan(rest, &value); err == nil {
				return value
			}
		}
	}
	return -1
}

// awaitDurable waits until the follower has all that the leader has, and returns the
// entries' hashes by number.
func (w *town) awaitDurable() map[uint64]string {
	w.t.Helper()
	var durable float64
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		durable = w.metric(ctx, w.leading(), "ebbtide_ledger_durable_sequence")
		head := w.metric(ctx, w.leading(), "ebbtide_ledger_head_sequence")
		return durable >= head && head > 0, fmt.Sprintf("of %.0f entries %.0f are durable", head, durable)
	})
	hashes := w.hashes()
	for seq := range hashes {
		if seq > uint64(durable) {
			delete(hashes, seq)
		}
	}
	return hashes
}

// hashes are those of the leader's entries.
func (w *town) hashes() map[uint64]string {
	w.t.Helper()
	out := map[uint64]string{}
	for from := uint64(1); from > 0; {
		var page struct {
			Entries []struct {
				Seq  uint64
				Hash string
			}
			Next uint64
		}
		if err := w.ask(w.t.Context(), fmt.Sprintf("/ledger?limit=1000&from=%d", from), &page); err != nil {
			w.t.Fatal(err)
		}
		for _, e := range page.Entries {
			out[e.Seq] = e.Hash
		}
		from = page.Next
	}
	return out
}

// hasAll fails if an entry is not in the leader's ledger as it was.
func (w *town) hasAll(before map[uint64]string) {
	w.t.Helper()
	after, lost := w.hashes(), 0
	for seq, hash := range before {
		if after[seq] != hash {
			lost++
		}
	}
	w.t.Logf("%d of %d acknowledged entries are lost; there are %d", lost, len(before), len(after))
	if lost > 0 || len(before) == 0 {
		w.t.Errorf("%d of %d acknowledged entries are lost", lost, len(before))
	}
}

// count is how many entries of a kind the ledger has.
func (w *town) count(kind string) (n int) {
	w.t.Helper()
	entries, err := w.entries(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		if e.Kind == kind {
			n++
		}
	}
	return n
}

// sameFiles stops both brokers, the follower first, so that it does not lead, and compares
// its copy with the leader's ledger: it has all that was durable.
func (w *town) sameFiles(follower string) {
	w.t.Helper()
	durable := w.awaitDurable()
	if err := w.Part(follower).Stop(); err != nil {
		w.t.Fatal(err)
	}
	env, err := w.Env(follower)
	if err != nil {
		w.t.Fatal(err)
	}
	w.closeTheBooks()
	theirs, err := ledger.Check(filepath.Join(env.Dir, "replica.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	if !theirs.OK() || theirs.HeadSeq < uint64(len(durable)) {
		w.t.Errorf("the copy ends with entry %d, and %d were durable; %v", theirs.HeadSeq, len(durable), theirs.Faults)
	}
	mine, err := ledger.Open(w.ledgerPath(), ledger.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := mine.Close(); err != nil {
			w.t.Error(err)
		}
	}()
	entries, err := mine.Read(theirs.HeadSeq, 1)
	if err != nil || len(entries) != 1 || entries[0].Hash != theirs.HeadHash {
		w.t.Errorf("the copy ends with %d:%s, and the ledger has %+v there (%v)", theirs.HeadSeq, theirs.HeadHash, entries, err)
	}
}

// The leader is killed, and its disk is gone: the follower leads with every entry that was
// acknowledged. Alone it takes back and does not lend; with another beside it, it lends.
func TestFollowerLeads(t *testing.T) {
	t.Parallel()
	w := pair(t, 3, map[string]any{"ack": "Replica", "ackTimeout": "2s"})
	w.submit("left", 1, 8, nil)
	w.submit("right", 1, 4, nil)
	w.awaitLoans("left", "right")
	w.awaitBound(trainingNamespace, 2)
	w.awaitAgreement()
	acked := w.awaitDurable()

	if err := w.Part(lab.Broker).Kill(); err != nil {
		t.Fatal(err)
	}
	env, err := w.Env(lab.Broker)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(env.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(env.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w.awaitLeader(second)
	w.hasAll(acked)
	if gaps, recovered := w.count("GAP"), w.count("RECOVERED"); gaps+recovered > 0 {
		t.Errorf("the ledger has %d GAP and %d RECOVERED, as if it had lost something", gaps, recovered)
	}
	w.awaitAgreement()

	// Alone: nothing new is lent, and what is lent comes back. The Loans stay, for they have
	// the entries that nobody else has.
	w.submit("late", 1, 4, nil)
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitReturned("left", "right")
	w.scale(1)
	w.awaitBound(onlineNamespace, 1)
	time.Sleep(5 * time.Second) // that something does not happen has no event
	w.awaitReturned("left", "right")

	// With a new follower: its copy is filled, and lending goes on.
	w.startBroker()
	w.awaitLoans("late", "left", "right")
	w.hasAll(acked)
	w.awaitAgreement()
	w.sameFiles(lab.Broker)
}

// awaitReturned waits until exactly these jobs have Loans, all of which are over, and no job
// runs.
func (w *town) awaitReturned(jobs ...string) {
	w.t.Helper()
	labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		if err != nil {
			return false, err.Error()
		}
		for _, job := range jobs {
			loan := loans[job]
			if !meta.IsStatusConditionTrue(loan.Status.Conditions, v1alpha1.LoanReturned) || len(loan.Status.Records) == 0 {
				return false, fmt.Sprintf("the loan of %s is %+v", job, loan.Status)
			}
		}
		bound, err := w.bound(ctx, trainingNamespace)
		return err == nil && bound == 0 && len(loans) == len(jobs), fmt.Sprintf("%d loans, want %v; %d pods run (%v)", len(loans), jobs, bound, err)
	})
}

// The leader sleeps in the midst of lending for longer than its Lease, and wakes up when the
// other one leads and has lent the rest: nothing that it does counts any more, and it ends.
func TestLeaderAsleep(t *testing.T) {
	t.Parallel()
	w := pair(t, 3, map[string]any{"ack": "Local", "onOldFile": "Gap"})
	submit := func(from, to int) {
		for i := from; i < to; i++ {
			w.submit(fmt.Sprintf("job-%02d", i), 1, 1, nil)
		}
	}
	submit(0, 8)
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		loans, err := w.loans(ctx)
		return err == nil && len(loans) > 0, fmt.Sprintf("%d loans (%v)", len(loans), err)
	})
	old := w.Part(lab.Broker)
	asleep, pid := time.Now(), old.PID()
	if err := old.Freeze(); err != nil {
		t.Fatal(err)
	}
	submit(8, 12) // whatever the old leader has done with the others, these it has not lent to
	w.awaitLeader(second)
	w.awaitBound(trainingNamespace, 12)
	time.Sleep(time.Until(asleep.Add(20 * time.Second)))
	if err := old.Thaw(); err != nil {
		t.Fatal(err)
	}
	labtest.Eventually(t, patience, func(context.Context) (bool, string) {
		return old.PID() != pid && old.PID() != 0, "the old leader still lives"
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := old.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(w.Dir(), "logs", lab.Broker+".log"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "leader election lost") && !strings.Contains(string(text), "the broker must stop") {
		t.Errorf("the old leader does not say why it ended: %s", old.Tail())
	}
	w.awaitAgreement()
	w.overtaken()
	labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
		copied, head := w.metric(ctx, lab.Broker, "ebbtide_ledger_replica_sequence"), w.metric(ctx, second, "ebbtide_ledger_head_sequence")
		return copied >= head && head > 0, fmt.Sprintf("the old leader has %.0f of %.0f entries", copied, head)
	})
	w.scale(3)
	w.awaitBound(onlineNamespace, 3)
	w.awaitLoans()
	w.sameFiles(lab.Broker)
}

// overtaken writes a Loan as a leader of the epoch before would, with a broker's rights.
func (w *town) overtaken() {
	w.t.Helper()
	path, err := w.KubeconfigFor(w.t.Context(), lab.SystemNamespace, "ebbtide-broker")
	if err != nil {
		w.t.Fatal(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		w.t.Fatal(err)
	}
	broker, err := lab.TypedClient(config)
	if err != nil {
		w.t.Fatal(err)
	}
	loans, err := w.loans(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	tried := 0
	for _, loan := range loans {
		if loan.Status.Epoch <= 1 {
			continue
		}
		tried++
		// What the one that leads writes meanwhile, is a conflict for both.
		labtest.Eventually(w.t, patience, func(ctx context.Context) (bool, string) {
			if err := broker.Get(ctx, client.ObjectKeyFromObject(&loan), &loan); err != nil {
				return false, err.Error()
			}
			same, older := loan.DeepCopy(), loan.DeepCopy()
			older.Status.Epoch--
			err := broker.Status().Update(ctx, older, client.DryRunAll)
			if apierrors.IsConflict(err) {
				return false, err.Error()
			}
			if !apierrors.IsInvalid(err) && !apierrors.IsForbidden(err) {
				w.t.Errorf("a write of epoch %d to a Loan of epoch %d ends with %v", older.Status.Epoch, loan.Status.Epoch, err)
			}
			if err := broker.Status().Update(ctx, same, client.DryRunAll); err != nil && !apierrors.IsConflict(err) {
				w.t.Errorf("a write of the same epoch ends with %v", err)
			}
			return true, ""
		})
	}
	if tried == 0 {
		w.t.Error("no Loan has an epoch before which there was another")
	}
}

// Each broker is restarted in its turn, and again the other way round: nothing is lost, and
// what is lent stays so.
func TestBrokersRestartedInTurn(t *testing.T) {
	nightly(t)
	t.Parallel()
	w := pair(t, 3, map[string]any{"ack": "Replica", "ackTimeout": "2s"})
	w.submit("stays", 1, 4, nil)
	w.awaitLoans("stays")
	w.awaitBound(trainingNamespace, 1)
	before, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	follower := second
	for turn := range 2 {
		acked := w.awaitDurable()
		w.restartPart(follower)
		w.awaitDurable()
		leader := w.leading()
		if err := w.Part(leader).Stop(); err != nil {
			t.Fatal(err)
		}
		w.awaitLeader(follower)
		w.hasAll(acked)
		w.restartPart(leader)
		follower = leader
		job := fmt.Sprintf("after-%d", turn)
		w.submit(job, 1, 2, nil)
		labtest.Eventually(t, patience, func(ctx context.Context) (bool, string) {
			loans, err := w.loans(ctx)
			_, lent := loans[job]
			return err == nil && lent, fmt.Sprintf("%d loans (%v)", len(loans), err)
		})
	}
	w.awaitAgreement()
	after, err := w.loans(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if was, is := before["stays"].UID, after["stays"].UID; was != is {
		t.Errorf("the loan of job stays was %s and is %s", was, is)
	}
	if gaps, recovered := w.count("GAP"), w.count("RECOVERED"); gaps+recovered > 0 {
		t.Errorf("the ledger has %d GAP and %d RECOVERED, as if it had lost something", gaps, recovered)
	}
	w.sameFiles(follower)
}

// restartPart stops a broker, if it runs, and starts it.
func (w *town) restartPart(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	if err := w.Part(name).Restart(ctx); err != nil {
		w.t.Fatal(err)
	}
	if err := w.Part(name).WaitReady(ctx); err != nil {
		w.t.Fatal(err)
	}
}
