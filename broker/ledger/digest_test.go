package ledger

import (
	"bytes"
	"errors"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Every bit of a key in an index by name counts: who reads the index finds nothing under
// another key, and a closed loan's name would be free again.
func TestEveryBitOfAnIndexKeyCounts(t *testing.T) {
	path, data := filled(t, 3)
	for _, bucket := range [][]byte{bucketLoan, bucketTenant} {
		var key []byte
		changeKey(t, path, bucket, func(first []byte) []byte {
			key = bytes.Clone(first)
			return first
		})
		for bit := range 8 * len(key) {
			writeFile(t, path, data)
			changeKey(t, path, bucket, func(first []byte) []byte {
				first[bit/8] ^= 1 << (bit % 8)
				return first
			})
			report, err := Check(path)
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(report.Err(), ErrDerived) {
				t.Errorf("%s: bit %d of the key %q is flipped: %v", bucket, bit, key, report.Err())
			}
		}
	}
}

// changeKey moves the first row of a bucket to another key.
func changeKey(t *testing.T, path string, bucket []byte, change func(key []byte) []byte) {
	t.Helper()
	db, err := bolt.Open(path, fileMode, &bolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucket)
		k, v := b.Cursor().First()
		k, v = bytes.Clone(k), bytes.Clone(v)
		if err := b.Delete(k); err != nil {
			return err
		}
		return b.Put(change(k), v)
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}
