package seal

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	"github.com/ebbtide/ebbtide/broker/ledger"
)

// Errors of Verify.
var (
	// ErrUnsigned: the checkpoint has no signature.
	ErrUnsigned = errors.New("the checkpoint is not signed")
	// ErrOtherKey: it has one by a key that was not asked for.
	ErrOtherKey = errors.New("the checkpoint is signed by another key")
	// ErrForged: the signature is not of what the checkpoint says.
	ErrForged = errors.New("the checkpoint's signature is wrong")
)

// Statement is the text that a checkpoint's signature is of:
//
//	ebbtide ledger checkpoint 1
//	<ledger's ID>
//	<seq>
//	<hash in hex>
//	<SHA-256 in hex of the totals: for each, sorted, "<account>\t<flavor>\t<unit-ms>\n">
//
// Names have no control characters, so no two checkpoints have the same one.
func Statement(ledgerID string, p *ledger.CheckpointPayload) []byte {
	lines := make([]string, 0, len(p.Totals))
	for _, t := range p.Totals {
		account, _ := t.Account.MarshalText() // it never fails
		lines = append(lines, fmt.Sprintf("%s\t%s\t%d\n", account, t.Flavor, t.UnitMS))
	}
	slices.Sort(lines)
	totals := sha256.New()
	for _, line := range lines {
		totals.Write([]byte(line))
	}
	return fmt.Appendf(nil, "ebbtide ledger checkpoint 1\n%s\n%d\n%s\n%x\n", ledgerID, p.Seq, p.Hash, totals.Sum(nil))
}

// Signer has a private key.
type Signer struct{ key ed25519.PrivateKey }

// NewSigner reads the private key, in PEM (PKCS #8), such as
// "openssl genpkey -algorithm ed25519" writes.
func NewSigner(text []byte) (*Signer, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("the signing key is no PEM")
	case block.Type != "PRIVATE KEY":
		return nil, fmt.Errorf("the signing key is PEM of type %q, want PRIVATE KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("the signing key has something after it")
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("the signing key is no PKCS #8") // the error is not passed on: it may show the key
	}
	key, is := any.(ed25519.PrivateKey)
	if !is {
		return nil, fmt.Errorf("the signing key is a %T, want an ed25519 key", any)
	}
	return &Signer{key}, nil
}

// Public is the key to verify with.
func (s *Signer) Public() PublicKey { return PublicKey{s.key.Public().(ed25519.PublicKey)} }

// Sign fills in Key and Signature.
func (s *Signer) Sign(ledgerID string, p *ledger.CheckpointPayload) {
	p.Key = s.Public().String()
	p.Signature = base64.StdEncoding.EncodeToString(ed25519.Sign(s.key, Statement(ledgerID, p)))
}

// PublicKey tells whether a signature is of the private key. The zero value is none.
type PublicKey struct{ key ed25519.PublicKey }

// String is the key in base64, as checkpoints have it; empty for none.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k.key) }

// IsZero tells whether there is no key.
func (k PublicKey) IsZero() bool { return len(k.key) == 0 }

// ParsePublicKey reads a public key: PEM (PKIX), such as "openssl pkey -pubout" writes, or
// what String wrote.
func ParsePublicKey(text []byte) (PublicKey, error) {
	text = bytes.TrimSpace(text)
	block, _ := pem.Decode(text)
	if block == nil {
		raw, err := base64.StdEncoding.DecodeString(string(text))
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return PublicKey{}, errors.New("the public key is neither PEM nor an ed25519 key in base64")
		}
		return PublicKey{raw}, nil
	}
	if block.Type != "PUBLIC KEY" {
		return PublicKey{}, fmt.Errorf("the public key is PEM of type %q, want PUBLIC KEY", block.Type)
	}
	any, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return PublicKey{}, fmt.Errorf("read the public key: %w", err)
	}
	key, is := any.(ed25519.PublicKey)
	if !is {
		return PublicKey{}, fmt.Errorf("the public key is a %T, want an ed25519 key", any)
	}
	return PublicKey{key}, nil
}

// Verify tells whether a checkpoint of that ledger is signed by the key; without one, whether
// it is by the key that it names itself. The errors are ErrUnsigned, ErrOtherKey and
// ErrForged.
func Verify(ledgerID string, p *ledger.CheckpointPayload, by PublicKey) error {
	if p.Key == "" && p.Signature == "" {
		return ErrUnsigned
	}
	named, err := ParsePublicKey([]byte(p.Key))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForged, err)
	}
	if !by.IsZero() && !bytes.Equal(by.key, named.key) {
		return fmt.Errorf("%w: %s", ErrOtherKey, named)
	}
	signature, err := base64.StdEncoding.DecodeString(p.Signature)
	if err != nil || !ed25519.Verify(named.key, Statement(ledgerID, p), signature) {
		return ErrForged
	}
	return nil
}
