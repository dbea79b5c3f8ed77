package exported

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/workload/gang"
)

// object is what is read of any of the kinds.
type object struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name              string            `json:"name"`
		Namespace         string            `json:"namespace"`
		Labels            map[string]string `json:"labels"`
		CreationTimestamp time.Time         `json:"creationTimestamp"`
	} `json:"metadata"`
	Spec   json.RawMessage `json:"spec"`
	Status json.RawMessage `json:"status"`
}

// which object it is, for errors.
func (o *object) which() string {
	return fmt.Sprintf("%s %s/%s", o.Kind, o.Metadata.Namespace, o.Metadata.Name)
}

// group of the API that the object belongs to.
func (o *object) group() string {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	return group
}

// reader makes runs of objects of one kind.
type reader func(k *kube, o *object) error

// readers by group and kind.
var readers = map[string]reader{
	"batch/Job":                      (*kube).job,
	"kueue.x-k8s.io/Workload":        (*kube).workload,
	"batch.volcano.sh/Job":           (*kube).volcanoJob,
	"scheduling.volcano.sh/PodGroup": (*kube).podGroup,
}

// wanted are the kinds, for errors.
const wanted = "want Job (batch), Workload (kueue.x-k8s.io), Job (batch.volcano.sh) or PodGroup (scheduling.volcano.sh)"

// Objects reads what kubectl get -o json printed: a list of objects of one kind, one object,
// or several one after the other. Tenants are namespaces.
func Objects(name string, r io.Reader, o gang.Options) (*gang.Stream, error) {
	k := &kube{notes: &gang.Notes{}}
	n := 0
	err := each(json.NewDecoder(r), func(decode func(any) error) error {
		at := fmt.Sprintf("%s: items[%d]", name, n)
		n++
		var one object
		if err := decode(&one); err != nil {
			return fmt.Errorf("%s: %w", at, told(err))
		}
		if err := k.read(&one); err != nil {
			return fmt.Errorf("%s (%s): %w", at, one.which(), err)
		}
		return nil
	})
	if err != nil {
		if !strings.HasPrefix(err.Error(), name) {
			err = fmt.Errorf("%s: %w", name, told(err))
		}
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: has no items: %s", name, wanted)
	}
	return stream(k.runs, k.now, o, k.notes), nil
}

// kube is what was read so far.
type kube struct {
	notes *gang.Notes
	runs  []run
	kind  string
	now   time.Time // the last moment that any object speaks of
}

func (k *kube) read(o *object) error {
	kind := o.group() + "/" + o.Kind
	read := readers[kind]
	switch {
	case read == nil:
		return fmt.Errorf("kind: is %s of %s, %s", o.Kind, o.APIVersion, wanted)
	case k.kind != "" && k.kind != kind:
		return fmt.Errorf("kind: is %s, and of items before %s: a job would be counted twice, export one kind", kind, k.kind)
	case o.Metadata.Name == "" || o.Metadata.Namespace == "" || o.Metadata.CreationTimestamp.IsZero():
		return errors.New("metadata: name, namespace and creationTimestamp must be given")
	}
	k.kind = kind
	k.speaks(o.Metadata.CreationTimestamp)
	return read(k, o)
}

// speaks notes that the export speaks of a moment.
func (k *kube) speaks(t time.Time) {
	if t.After(k.now) {
		k.now = t
	}
}

// run is the beginning of what is told of an object.
func (k *kube) run(o *object, units gpus) run {
	one := run{created: o.Metadata.CreationTimestamp}
	one.Name, one.Tenant = o.Metadata.Namespace+"/"+o.Metadata.Name, o.Metadata.Namespace
	one.Queue = o.Metadata.Labels[v1alpha1.LabelQueue]
	one.Units, one.Pods, one.Flavor = units.all, units.pods, units.flavor
	if units.uneven {
		one.Pods = 0
		k.notes.Count(uneven)
	}
	return one
}

// lived adds a run from a moment to another; either may be unknown, and ended says whether
// it is over.
func (k *kube) lived(one run, from, to time.Time, ended bool) {
	k.speaks(from)
	k.speaks(to)
	switch {
	case one.Units == 0:
		k.notes.Count(gang.NoGPU)
		return
	case from.IsZero() && one.before == 0:
		k.notes.Count(neverRan)
		return
	case ended && to.IsZero():
		k.notes.Count(noEnd)
		return
	case from.IsZero(): // taken back, and waiting since
		k.notes.Count(waits)
		one.Ran, one.before = one.before, 0
	case ended:
		one.Ran = to.Sub(from)
	default:
		one.since = from
	}
	k.runs = append(k.runs, one)
}

// each hands every object of a document to take: those in the items of lists, and those
// that stand by themselves.
func each(d *json.Decoder, take func(decode func(any) error) error) error {
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if token != json.Delim('{') {
			return fmt.Errorf("is %v where an object begins, want {", token)
		}
		if err := document(d, take); err != nil {
			return err
		}
	}
}

// document reads an object of which the brace was read.
func document(d *json.Decoder, take func(decode func(any) error) error) error {
	fields, list := map[string]json.RawMessage{}, false
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		if key == "items" {
			if err := items(d, take); err != nil {
				return err
			}
			list = true
			continue
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		fields[fmt.Sprint(key)] = value
	}
	if _, err := d.Token(); err != nil {
		return err
	}
	if list {
		return nil
	}
	return take(func(to any) error {
		whole, err := json.Marshal(fields)
		if err != nil {
			return err
		}
		return json.Unmarshal(whole, to)
	})
}

func items(d *json.Decoder, take func(decode func(any) error) error) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	if token == nil {
		return nil // a list of nothing
	}
	if token != json.Delim('[') {
		return fmt.Errorf("items: is %v, want a list", token)
	}
	for d.More() {
		if err := take(d.Decode); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// told is an error of package json in the words of this one: with the field, or where in
// the file it is.
func told(err error) error {
	var wrong *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &wrong):
		return fmt.Errorf("%s: is %s, want %s", wrong.Field, wrong.Value, wrong.Type)
	case errors.As(err, &syntax):
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	case errors.Is(err, io.EOF):
		return errors.New("the file ends in the middle of an object")
	}
	return err
}

// unmarshal reads a part of an object; one that is not there is empty.
func unmarshal(part string, raw json.RawMessage, to any) error {
	if len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, to); err != nil {
		err = told(err)
		return fmt.Errorf("%s.%w", part, err)
	}
	return nil
}
