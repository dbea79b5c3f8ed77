package signal

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// inQuotes is a string of PromQL, to its end.
var inQuotes = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// Whatever a tenant writes into a policy, a query that is made for a profile asks for the same
// thing: what is the tenant's stands in strings, whole, and nowhere else.
func TestTenantsWordsStayInStrings(t *testing.T) {
	shape := func(profile *Profile, m *Metric, namespace, workload, label string) (string, []string) {
		q := promQL{profile: profile, metric: m, namespace: namespace, match: map[string]string{"model_name": label}}
		if workload != "" {
			q.pods = regexp.QuoteMeta(workload) + "-.+"
		}
		text := q.value() + " " + q.time()
		return inQuotes.ReplaceAllString(text, `""`), inQuotes.FindAllString(text, -1)
	}
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{
			`"} or vector(1) #`, `\"} or vector(1) #`, "a\nb", "`", `\`, `{{`, "'", `"`, "\x00", "\xff",
		}))
		label, workload := words.Draw(t, "label"), words.Draw(t, "workload")
		tried := 0
		for name, profile := range profiles {
			for i := range profile.Measures {
				m := &profile.Measures[i]
				want, _ := shape(profile, m, "serving", "chat", "qwen")
				if workload == "" {
					want, _ = shape(profile, m, "serving", "", "qwen")
				}
				got, strings := shape(profile, m, "serving", workload, label)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%s: the query is another one (-want +got):\n%s", name, diff)
				}
				whole := false
				for _, s := range strings {
					text, err := strconv.Unquote(s)
					if err != nil {
						t.Fatalf("%s: %s is no string: %v", name, s, err)
					}
					whole = whole || text == label
				}
				if !whole {
					t.Fatalf("%s: none of %q is %q", name, strings, label)
				}
				tried++
			}
		}
		if tried < 20 {
			t.Fatalf("only %d queries were made", tried)
		}
	})
}
