package seal_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ebbtide/ebbtide/broker/ledger"
	"github.com/ebbtide/ebbtide/broker/ledger/seal"
	"github.com/ebbtide/ebbtide/broker/ledger/seal/sealtest"
)

func encode(t *testing.T, kind string, der []byte, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// newKey is a private and a public key in PEM.
func newKey(t *testing.T) (private, public []byte) {
	t.Helper()
	private, public, err := sealtest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return private, public
}

func newSigner(t *testing.T) (*seal.Signer, seal.PublicKey) {
	t.Helper()
	private, public := newKey(t)
	s, err := seal.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	k, err := seal.ParsePublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

func checkpoint(seq uint64) ledger.CheckpointPayload {
	return ledger.CheckpointPayload{Seq: seq, Hash: sha256.Sum256([]byte{byte(seq)}), Totals: []ledger.Posting{
		{Account: ledger.Account{Side: ledger.BorrowerAccount, Name: "research"}, Flavor: "h100", UnitMS: -70},
		{Account: ledger.Account{Side: ledger.LenderAccount, Name: "serving/chat"}, Flavor: "h100", UnitMS: 70},
	}}
}

const id = "000102030405060708090a0b0c0d0e0f"

// The text that is signed is part of the format: a change of it makes every signature
// worthless.
func TestStatement(t *testing.T) {
	p := checkpoint(7)
	totals := sha256.Sum256([]byte("borrower/research\th100\t-70\nlender/serving/chat\th100\t70\n"))
	want := fmt.Sprintf("ebbtide ledger checkpoint 1\n%s\n7\n%s\n%x\n", id, p.Hash, totals)
	if got := string(seal.Statement(id, &p)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	p.Totals[0], p.Totals[1] = p.Totals[1], p.Totals[0]
	if got := string(seal.Statement(id, &p)); got != want {
		t.Errorf("in another order it is\n%s", got)
	}
}

// A signature holds for what was signed, and for nothing else.
func TestSignature(t *testing.T) {
	signer, key := newSigner(t)
	other, otherKey := newSigner(t)
	signed := checkpoint(7)
	signer.Sign(id, &signed)
	again, err := seal.ParsePublicKey([]byte(key.String() + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []seal.PublicKey{key, again, {}} {
		if err := seal.Verify(id, &signed, k); err != nil {
			t.Errorf("with key %q: %v", k, err)
		}
	}
	if err := seal.Verify(id, &signed, otherKey); !errors.Is(err, seal.ErrOtherKey) {
		t.Errorf("with another key: %v", err)
	}
	for name, change := range map[string]func(p *ledger.CheckpointPayload) string{
		"ledger":    func(*ledger.CheckpointPayload) string { return strings.Repeat("0", 32) },
		"seq":       func(p *ledger.CheckpointPayload) string { p.Seq++; return id },
		"hash":      func(p *ledger.CheckpointPayload) string { p.Hash[31] ^= 1; return id },
		"totals":    func(p *ledger.CheckpointPayload) string { p.Totals[0].UnitMS++; return id },
		"account":   func(p *ledger.CheckpointPayload) string { p.Totals[0].Account.Name = "online"; return id },
		"no totals": func(p *ledger.CheckpointPayload) string { p.Totals = nil; return id },
		"another key named": func(p *ledger.CheckpointPayload) string {
			p.Key = other.Public().String()
			return id
		},
		"no key":         func(p *ledger.CheckpointPayload) string { p.Key = ""; return id },
		"short key":      func(p *ledger.CheckpointPayload) string { p.Key = "AAAA"; return id },
		"no signature":   func(p *ledger.CheckpointPayload) string { p.Signature = ""; return id },
		"half signature": func(p *ledger.CheckpointPayload) string { p.Signature = p.Signature[:44]; return id },
		"no base64":      func(p *ledger.CheckpointPayload) string { p.Signature = "!"; return id },
	} {
		p := signed
		p.Totals = append([]ledger.Posting(nil), signed.Totals...)
		of := change(&p)
		if err := seal.Verify(of, &p, seal.PublicKey{}); !errors.Is(err, seal.ErrForged) {
			t.Errorf("changed %s: %v", name, err)
		}
	}
	unsigned := checkpoint(7)
	if err := seal.Verify(id, &unsigned, key); !errors.Is(err, seal.ErrUnsigned) {
		t.Errorf("unsigned: %v", err)
	}
}

func TestKeysAreRefused(t *testing.T) {
	private, public := newKey(t)
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(curve)
	other := encode(t, "PRIVATE KEY", der, err)
	der, err = x509.MarshalPKIXPublicKey(&curve.PublicKey)
	otherPublic := encode(t, "PUBLIC KEY", der, err)
	for name, tc := range map[string]struct {
		text []byte
		want string
	}{
		"empty":         {nil, "is no PEM"},
		"public":        {public, `of type "PUBLIC KEY"`},
		"another kind":  {other, "want an ed25519 key"},
		"two":           {append(append([]byte{}, private...), private...), "something after it"},
		"no key inside": {encode(t, "PRIVATE KEY", []byte("x"), nil), "no PKCS #8"},
	} {
		if _, err := seal.NewSigner(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("private key, %s: %v, want %q", name, err, tc.want)
		}
	}
	for name, tc := range map[string]struct {
		text []byte
		want string
	}{
		"empty":        {nil, "neither PEM nor"},
		"private":      {private, `of type "PRIVATE KEY"`},
		"another kind": {otherPublic, "want an ed25519 key"},
		"too short":    {[]byte(base64.StdEncoding.EncodeToString([]byte("abc"))), "neither PEM nor"},
		"no key":       {encode(t, "PUBLIC KEY", []byte("x"), nil), "read the public key"},
	} {
		if _, err := seal.ParsePublicKey(tc.text); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("public key, %s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestCheckTellsWhatIsSigned(t *testing.T) {
	signer, key := newSigner(t)
	other, otherKey := newSigner(t)
	all := []ledger.CheckpointPayload{checkpoint(1), checkpoint(2), checkpoint(3)}
	signer.Sign(id, &all[1])
	for name, tc := range map[string]struct {
		of    []ledger.CheckpointPayload
		by    seal.PublicKey
		err   string
		notes []string
	}{
		"nothing":         {nil, seal.PublicKey{}, "", []string{"no checkpoints yet"}},
		"nothing, a key":  {nil, key, "no checkpoint is signed by the key", nil},
		"no key":          {all, seal.PublicKey{}, "", []string{"3 checkpoints, 1 of them signed", "2 checkpoints are not signed, the last of entry 3", "compare it with yours"}},
		"the key":         {all, key, "", []string{"signed last: entry 2", "signed by key " + key.String()}},
		"another":         {all, otherKey, "signed by another key", nil},
		"none is signed":  {all[:1], key, "no checkpoint is signed by the key", []string{"1 checkpoints are not signed"}},
		"unsigned is bad": {all[:1], seal.PublicKey{}, "", []string{"1 checkpoints are not signed"}},
	} {
		s := seal.Check(id, tc.of, tc.by)
		if err := s.Err(); (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, want %q", name, err, tc.err)
		}
		for _, want := range tc.notes {
			if notes := strings.Join(s.Notes(), "\n"); !strings.Contains(notes, want) {
				t.Errorf("%s: notes lack %q:\n%s", name, want, notes)
			}
		}
	}
	other.Sign(id, &all[2])
	all[2].Seq = 4
	s := seal.Check(id, all, seal.PublicKey{})
	if err := s.Err(); err == nil || !strings.Contains(err.Error(), "of entry 4") {
		t.Errorf("a forged one: %v", err)
	}
}
