package rehearse

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/broker/internal/cli/definition"
	"github.com/ebbtide/ebbtide/broker/view"
)

// Change is one field that is other than it is now. To is absent if the object loses it,
// From if it gets it, and both are for an object that is new.
type Change struct {
	Object string `json:"object"`
	Field  string `json:"field,omitempty"`
	From   any    `json:"from,omitempty"`
	To     any    `json:"to,omitempty"`
}

func (c *Change) String() string {
	if c.Field == "" {
		return c.Object + ": is new"
	}
	return fmt.Sprintf("%s: %s: %s -> %s", c.Object, c.Field, shown(c.From), shown(c.To))
}

func shown(v any) string {
	if v == nil {
		return "<unset>"
	}
	if text, is := v.(string); is {
		return text
	}
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(data)
}

// Changes are what others change about the objects, in spec, by object and field. It is an
// error if the API server refuses the change.
func (o *Objects) Changes(others *Objects) ([]Change, error) {
	var all []Change
	for _, object := range others.all {
		i := slices.IndexFunc(o.all, func(a client.Object) bool { return title(a) == title(object) })
		if i < 0 {
			all = append(all, Change{Object: title(object)})
			continue
		}
		from, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o.all[i])
		if err != nil {
			return nil, fmt.Errorf("comparing %s: %w", title(object), err)
		}
		to, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
		if err != nil {
			return nil, fmt.Errorf("comparing %s: %w", title(object), err)
		}
		if err := admitChange(object.GetObjectKind().GroupVersionKind(), from, to); err != nil {
			return nil, fmt.Errorf("%s: %w", title(object), err)
		}
		all = differ(all, title(object), "spec", from["spec"], to["spec"])
	}
	return all, nil
}

// admitChange refuses what the API server would; of kinds that are not ours nothing.
func admitChange(kind schema.GroupVersionKind, from, to map[string]any) error {
	if kind.Group != v1alpha1.GroupVersion.Group {
		return nil
	}
	d, err := definition.Of(kind)
	if err != nil {
		return err
	}
	return d.AdmitChange(&unstructured.Unstructured{Object: from}, &unstructured.Unstructured{Object: to})
}

// differ goes down two values of JSON.
func differ(all []Change, object, field string, from, to any) []Change {
	a, isMap := from.(map[string]any)
	b, areMaps := to.(map[string]any)
	if !isMap || !areMaps {
		x, isList := from.([]any)
		y, areLists := to.([]any)
		switch {
		case reflect.DeepEqual(from, to):
			return all
		case isList && areLists && len(x) == len(y):
			for i := range x {
				all = differ(all, object, fmt.Sprintf("%s[%d]", field, i), x[i], y[i])
			}
			return all
		}
		return append(all, Change{Object: object, Field: field, From: from, To: to})
	}
	keys := map[string]bool{}
	for key := range a {
		keys[key] = true
	}
	for key := range b {
		keys[key] = true
	}
	for _, key := range sorted(keys) {
		all = differ(all, object, field+"."+key, a[key], b[key])
	}
	return all
}

// Comparison is the same past under two sets of rules. Its JSON form is described in
// docs/reference/simulation.md and only grows.
type Comparison struct {
	Answer      string   `json:"answer"`
	Changes     []Change `json:"changes"`
	Input       Input    `json:"input"`
	Assumptions []string `json:"assumptions"`
	Missing     []string `json:"missing"`
	Now         Result   `json:"now"`
	Changed     Result   `json:"changed"`
}

// NewComparison of the first two results: as it is now, and changed.
func NewComparison(now, changed *Report, changes []Change) *Comparison {
	c := &Comparison{
		Changes: changes, Input: now.Input, Assumptions: now.Assumptions, Missing: now.Missing,
		Now: now.Results[0], Changed: changed.Results[0],
	}
	for _, m := range changed.Missing {
		if !slices.Contains(c.Missing, m) {
			c.Missing = append(c.Missing, m)
		}
	}
	c.Answer = c.answer()
	return c
}

func (c *Comparison) answer() string {
	a, b := &c.Now, &c.Changed
	text := "With the change, "
	switch more := b.Lent - a.Lent; {
	case a.Lent == 0 && b.Lent == 0:
		text += "nothing would have been lent, as now"
	case hours(math.Abs(more)) == hours(0):
		text += fmt.Sprintf("%s GPU-hours would have been lent, as now", hours(b.Lent))
	case more < 0:
		text += fmt.Sprintf("%s GPU-hours less would have been lent (%s instead of %s)", hours(-more), hours(b.Lent), hours(a.Lent))
	default:
		text += fmt.Sprintf("%s GPU-hours more would have been lent (%s instead of %s)", hours(more), hours(b.Lent), hours(a.Lent))
	}
	text += fmt.Sprintf("; jobs would have waited %s on average instead of %s, and ", seconds(b.QueueingMean), seconds(a.QueueingMean))
	if a.OnlineWaited == 0 && b.OnlineWaited == 0 {
		return text + "no online pod would have waited for a GPU, as now."
	}
	return text + fmt.Sprintf("%d online pods instead of %d would have waited for a GPU.", b.OnlineWaited, a.OnlineWaited)
}

// Table has a row for each measure.
func (c *Comparison) Table() view.Table {
	t := view.Table{Columns: []view.Column{{Title: "MEASURE"}, {Title: "NOW"}, {Title: "CHANGED"}, {Title: "DIFFERENCE"}}}
	now, changed := append(c.Now.gains(), c.Now.rest()...), append(c.Changed.gains(), c.Changed.rest()...)
	differences := c.differences()
	for i, title := range append(slices.Clone(gainTitles), restTitles...) {
		if title == "POLICY" || title == "OF-ORACLE" {
			continue
		}
		t.Rows = append(t.Rows, []string{strings.ToLower(title), now[i], changed[i], differences[title]})
	}
	return t
}

// differences by title. Of waste, where nothing was lent at one time, there is none.
func (c *Comparison) differences() map[string]string {
	a, b := &c.Now, &c.Changed
	out := map[string]string{
		"WAIT-MEAN": longer(a.QueueingMean, b.QueueingMean), "WAIT-P99": longer(a.QueueingP99, b.QueueingP99), "JCT-MEAN": longer(a.JCTMean, b.JCTMean),
		"ONLINE-P99": longer(a.OnlineWait99, b.OnlineWait99),
		"SHORT":      points(a.ShortShare, b.ShortShare), "UTILIZATION": points(a.Utilization, b.Utilization), "WASTE": view.None,
	}
	if a.WasteShare != nil && b.WasteShare != nil {
		out["WASTE"] = points(*a.WasteShare, *b.WasteShare)
	}
	for title, v := range map[string][2]float64{
		"LENT-GPU-H": {a.Lent, b.Lent}, "LOST-GPU-H": {a.LostUnitHours, b.LostUnitHours}, "OWN-GPU-H": {a.Own, b.Own}, "ONLINE-GPU-H": {a.Online, b.Online},
	} {
		out[title] = fmt.Sprintf("%+.1f", v[1]-v[0])
	}
	for title, v := range map[string][2]int64{
		"JOBS-DONE": {a.Finished, b.Finished}, "EVICTIONS": {a.Evictions, b.Evictions}, "ONLINE-WAITED": {a.OnlineWaited, b.OnlineWaited},
		"STARTED": {a.Started, b.Started}, "SUBMITTED": {a.Submitted, b.Submitted}, "SHED-PODS": {a.ShedPods, b.ShedPods}, "NODE-FAILURES": {a.Failures, b.Failures},
	} {
		out[title] = fmt.Sprintf("%+d", v[1]-v[0])
	}
	return out
}

func longer(a, b float64) string {
	if b < a {
		return "-" + seconds(a-b)
	}
	return "+" + seconds(b-a)
}

func points(a, b float64) string { return fmt.Sprintf("%+.1f%%", (b-a)*100) }
