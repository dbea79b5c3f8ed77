package report

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"text/tabwriter"
	"text/template"

	"github.com/ebbtide/ebbtide/e2e/results/trial"
)

// How policies call themselves.
const (
	none    = "no lending"
	product = "ebbtide"
	lyra    = "lyra"
	oracle  = "oracle"
)

//go:embed pages/*.md
var pages embed.FS

// Judge makes the answer of the main experiment, and holds it against the targets.
func (r *Report) Judge() (err error) {
	r.Answer = answer(r.Of(product), r.Of(lyra))
	r.Verdicts, err = judge(r.Answer, &r.DeepSeek)
	return err
}

// Of is a policy's row of the main experiment.
func (r *Report) Of(policy string) trial.Row { return Of(r.Main, policy) }

// Of is a policy's row.
func Of(rows []trial.Row, policy string) trial.Row {
	if i := slices.IndexFunc(rows, func(r trial.Row) bool { return r.Policy == policy }); i >= 0 {
		return rows[i]
	}
	return trial.Row{Policy: policy}
}

// Files are what is published.
func (r *Report) Files() (Files, error) {
	out := Files{}
	for name, f := range r.figures() {
		out[name] = []byte(f.SVG() + "\n")
	}
	all, err := template.New("").Funcs(words()).ParseFS(pages, "pages/*.md")
	if err != nil {
		return nil, fmt.Errorf("reading pages: %w", err)
	}
	for _, t := range all.Templates() {
		if path.Ext(t.Name()) != ".md" {
			continue
		}
		var page bytes.Buffer
		if err := t.Execute(&page, r); err != nil {
			return nil, fmt.Errorf("page %s: %w", t.Name(), err)
		}
		out[t.Name()] = page.Bytes()
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing results.json: %w", err)
	}
	out["results.json"] = append(data, '\n')
	return out, nil
}

// Print tells the comparison, with what no file has: how long decisions took here. Its last
// line is the answer as JSON.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "policy\ttraining\tharvest\tof oracle\tlent\tof oracle\tutilisation\twait\tspeedup\tJCT\tspeedup\tevictions\tper loan\twaste\treplicas waited\tp99\tshort\t")
	for i := range r.Main {
		m := &r.Main[i]
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.3f\t%.0f\t%.3f\t%.3f\t%.0f s\t%.2f\t%.0f s\t%.2f\t%d\t%.3f\t%.4f\t%d of %d\t%.1f s\t%.5f\t\n", m.Policy, m.TrainingGPUHours, m.HarvestGPUHours, m.ShareOfOracle, m.LentGPUHours, m.LentOfOracle, m.Utilisation,
			m.QueueingSeconds, m.QueueingSpeedup, m.JCTSeconds, m.JCTSpeedup, m.Evictions, m.EvictionRate, m.WasteShare, m.OnlineWaited, m.OnlinePods, m.OnlineWaitP99, m.ShortShare)
	}
	fmt.Fprintln(t, "\t")
	fmt.Fprintln(t, "GPUs\tlent of idle\tdecisions\tmedian\tp99\t")
	for i := range r.Scale {
		s := &r.Scale[i]
		fmt.Fprintf(t, "%d\t%.3f\t%d\t%.2f ms\t%.2f ms\t\n", s.GPUs, s.Share, s.Decisions, s.Seen(0.5).Seconds()*1e3, s.Seen(0.99).Seconds()*1e3)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	line, err := r.Answer.Line()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "\n%s\n%s\n%s\n", r.DeepSeek.sentence(), r.verdicts(), line)
	return err
}

// sentence tells DeepSeek's day.
func (d *DeepSeek) sentence() string {
	return fmt.Sprintf("DeepSeek's day: %.0f of the published %.0f GPU-hours lent (aim %.0f), the slowest return after %.0f s", d.Row.LentGPUHours, d.Published, d.Aim, d.Slowest)
}

// verdicts tell what became of each target.
func (r *Report) verdicts() string {
	var b strings.Builder
	for _, v := range r.Verdicts {
		met, than := "met", "at least"
		if !v.Met {
			met = "MISSED, as declared: " + v.Why
		}
		if v.AtMost {
			than = "at most"
		}
		fmt.Fprintf(&b, "%s: %g, aim %s %g: %s\n", v.Target, v.Reached, than, v.Bar, met)
	}
	return strings.TrimSuffix(b.String(), "\n")
}
