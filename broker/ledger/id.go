package ledger

import bolt "go.etcd.io/bbolt"

// ID names the ledger: no other has the same, and copies of a file do. It never changes.
func (l *Ledger) ID() (id string, err error) {
	err = l.view(func(tx *bolt.Tx) error {
		identity, err := decodeIdentity(tx.Bucket(bucketMeta).Get(keyIdentity))
		id = identity.idString()
		return err
	})
	return id, err
}
