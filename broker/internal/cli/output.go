package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/ebbtide/ebbtide/broker/internal/cli/access"
	"github.com/ebbtide/ebbtide/broker/view"
)

// answersVersion is the apiVersion of answers that are no objects of the cluster.
const answersVersion = "cli.ebbtide.dev/v1alpha1"

// output is the -o flag of one command.
type output struct {
	print     *genericclioptions.PrintFlags
	text      []string // formats that the command prints by itself, "" among them
	noHeaders bool
}

// newOutput takes the text formats beside the default one, "wide" for tables.
func newOutput(text ...string) *output {
	return &output{
		print: genericclioptions.NewPrintFlags("").WithTypeSetter(access.Scheme),
		text:  append([]string{""}, text...),
	}
}

func (o *output) addFlags(cmd *cobra.Command) {
	o.print.AddFlags(cmd)
	flag := cmd.Flags().Lookup("output")
	flag.Usage = "Output format: " + strings.Join(o.formats(), "|")
	for _, rare := range []string{"allow-missing-template-keys", "show-managed-fields", "template"} {
		if f := cmd.Flags().Lookup(rare); f != nil {
			f.Hidden = true
		}
	}
	if slices.Contains(o.text, "wide") {
		cmd.Flags().BoolVar(&o.noHeaders, "no-headers", false, "Leave the table's header out")
	}
}

func (o *output) formats() []string {
	formats := []string{"json", "yaml", "name"}
	for _, text := range o.text {
		if text != "" {
			formats = append(formats, text)
		}
	}
	return append(formats, "jsonpath=...", "go-template=...")
}

func (o *output) format() string { return *o.print.OutputFormat }

// isText: the command prints its own form rather than an object.
func (o *output) isText() bool { return slices.Contains(o.text, o.format()) }

func (o *output) wide() bool { return o.format() == "wide" }

func (o *output) validate() error {
	if o.isText() {
		return nil
	}
	if _, err := o.print.ToPrinter(); err != nil {
		if genericclioptions.IsNoCompatiblePrinterError(err) {
			return fmt.Errorf("--output: %q is not one of %s", o.format(), strings.Join(o.formats(), ", "))
		}
		return fmt.Errorf("--output: %w", err)
	}
	return nil
}

// object prints one object, or a list of them, as json, yaml, or by template.
func (o *output) object(obj runtime.Object, w io.Writer) error {
	printer, err := o.print.ToPrinter()
	if err != nil {
		return fmt.Errorf("--output: %w", err)
	}
	return printer.PrintObj(obj, w)
}

// names prints kind.group/name of each object.
func (o *output) names(objects []runtime.Object, w io.Writer) error {
	for _, obj := range objects {
		if err := o.object(obj, w); err != nil {
			return err
		}
	}
	return nil
}

// found prints what was found where no table is asked for: the name of each object, the one
// that was asked for by name, or the list. It reports whether it did.
func (o *output) found(list runtime.Object, one bool, w io.Writer) (printed bool, err error) {
	if o.isText() {
		return false, nil
	}
	if !one && o.format() != "name" {
		return true, o.object(list, w)
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return true, fmt.Errorf("read what was found: %w", err)
	}
	return true, o.names(objects, w)
}

// table prints a table, with a column NAMESPACE before the others if namespaces
// has an entry for every row.
func (o *output) table(t view.Table, namespaces []string, w io.Writer) error {
	table := &metav1.Table{}
	add := func(title string, wide bool) {
		column := metav1.TableColumnDefinition{Name: title, Type: "string"}
		if wide {
			column.Priority = 1
		}
		table.ColumnDefinitions = append(table.ColumnDefinitions, column)
	}
	withNamespace := namespaces != nil
	if withNamespace {
		add("NAMESPACE", false)
	}
	for _, c := range t.Columns {
		add(c.Title, c.Wide)
	}
	for i, row := range t.Rows {
		cells := make([]any, 0, len(row)+1)
		if withNamespace {
			cells = append(cells, namespaces[i])
		}
		for _, c := range row {
			cells = append(cells, c)
		}
		table.Rows = append(table.Rows, metav1.TableRow{Cells: cells})
	}
	return printers.NewTablePrinter(printers.PrintOptions{Wide: o.wide(), NoHeaders: o.noHeaders}).PrintObj(table, w)
}

// answers prints items as a list of them, or the name of each.
func (o *output) answers(kind string, items []any, more map[string]any, w io.Writer) error {
	if o.format() != "name" {
		value := map[string]any{"items": items}
		maps.Copy(value, more)
		list, err := answer(kind+"List", value)
		if err != nil {
			return err
		}
		return o.object(list, w)
	}
	objects := make([]runtime.Object, len(items))
	for i, item := range items {
		object, err := answer(kind, item)
		if err != nil {
			return err
		}
		objects[i] = object
	}
	return o.names(objects, w)
}

// answer makes an object of something that is none in the cluster, so that it
// prints as one. The value must marshal to a JSON object.
func answer(kind string, value any) (*unstructured.Unstructured, error) {
	data, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", kind, err)
	}
	object := map[string]any{}
	if err := json.Unmarshal(data, &object); err != nil {
		return nil, fmt.Errorf("write %s: %w", kind, err)
	}
	object["apiVersion"], object["kind"] = answersVersion, kind
	return &unstructured.Unstructured{Object: object}, nil
}
