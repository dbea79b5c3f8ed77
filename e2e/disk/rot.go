package disk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/ebbtide/ebbtide/e2e/disk/writer"
	"github.com/ebbtide/ebbtide/e2e/witness/books"
)

// damage is a damaged file; live tells that bytes which mean something were changed, so that
// it must be refused. Other damage may also be harmless: what is served is what was written.
type damage struct {
	file []byte
	what string
	live bool
}

// leastBare is how many damaged files bbolt alone gets at least, where there are as many: about
// one in seven is served.
const leastBare = 100

// rot damages copies of a ledger.
func (r *run) rot(ctx context.Context) error {
	file, err := r.sample()
	if err != nil {
		return err
	}
	sound, err := r.open(r.opener, file)
	if err != nil || sound.Refused != "" {
		return fmt.Errorf("the file to be damaged is refused: %s: %w", sound.Refused, err)
	}
	bare := &opener{program: r.program, args: []string{"-bare"}}
	defer func() { _ = bare.stop() }()
	soundBare, err := r.open(bare, file)
	if err != nil {
		return err
	}
	live := books.Live(file)
	refused, served := 0, tally{}
	for i := range r.c.Flips {
		d := r.damaged(file, live, i)
		a, err := r.open(r.opener, d.file)
		if err := r.notice(d, a, err, sound, &refused); err != nil {
			return err
		}
		if d.live && served.tried < max(r.c.Flips/5, leastBare) {
			served.tried++
			if a, err := r.open(bare, d.file); err == nil && a.Refused == "" && a.Content != soundBare.Content {
				served.guilty++
			}
		}
		r.counts.Flips++
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	fmt.Fprintf(r.c.Out, "rot       %d damaged files: %d refused, %d harmless\n", r.c.Flips, refused, r.counts.Harmless)
	return r.control("no checks but bbolt's", served.guilty > 0, "%d of %d damaged files would have been served", served.guilty, served.tried)
}

// sample is a file with some history.
func (r *run) sample() ([]byte, error) {
	if err := os.WriteFile(r.ledger, r.empty, 0o600); err != nil {
		return nil, err
	}
	cmd := r.program.command("append", "-file", r.ledger, "-until", fmt.Sprint(r.c.Appends))
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("write a file to be damaged: %w: %s", err, out)
	}
	return os.ReadFile(r.ledger)
}

// damaged makes the i-th damage: bits of what is in use, bits anywhere, sectors, and cuts.
func (r *run) damaged(file []byte, live [][2]int, i int) damage {
	switch i % 10 {
	case 7:
		at := r.rng.IntN(len(file)/sector) * sector
		out := slices.Clone(file)
		clear(out[at : at+sector])
		return damage{out, fmt.Sprintf("the sector at %d is zero", at), false}
	case 8, 9:
		size := r.rng.IntN(len(file))
		return damage{slices.Clone(file[:size]), fmt.Sprintf("cut to %d bytes", size), false}
	}
	at, used := r.rng.IntN(len(file)), i%10 < 5
	if used {
		place := live[r.rng.IntN(len(live))]
		for place[0] == place[1] {
			place = live[r.rng.IntN(len(live))]
		}
		at = place[0] + r.rng.IntN(place[1]-place[0])
	}
	bit := r.rng.IntN(8)
	out := slices.Clone(file)
	out[at] ^= 1 << bit
	return damage{out, fmt.Sprintf("bit %d of byte %d is flipped", bit, at), used}
}

func (r *run) open(o *opener, file []byte) (writer.Answer, error) {
	if err := os.WriteFile(r.scratch, file, 0o600); err != nil {
		return writer.Answer{}, err
	}
	return o.ask(writer.Request{File: r.scratch})
}

// notice judges what the product made of a damaged file.
func (r *run) notice(d damage, a writer.Answer, err error, sound writer.Answer, refused *int) error {
	switch {
	case errors.Is(err, errDied):
		r.counts.Deaths++
		r.accuse("%s: %v", d.what, err)
		return nil
	case err != nil:
		return err
	case a.Refused != "":
		*refused++
	case !d.live && a == sound:
		r.counts.Harmless++
	default:
		r.counts.Unnoticed++
		r.accuse("%s: it was opened, with head %d %s", d.what, a.Seq, a.Hash)
	}
	if d.live && books.Judge(d.file).Sound() {
		r.counts.Unnoticed++
		r.accuse("%s: the witness did not see it", d.what)
	}
	return nil
}
