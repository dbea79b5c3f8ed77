package monitoring

import (
	"encoding/json"
	"fmt"
)

// schemaVersion of dashboards, which Grafana 12 writes; newer ones bring it up to date.
const schemaVersion = 41

// Dashboard is what one of Grafana's dashboards shows.
type Dashboard struct {
	// File is its name without .json, and with the product's its UID.
	File, Title, Description string
	// Choices are what its reader may choose.
	Choices []Choice
	Rows    []Row
}

// Choice is a variable with the values of a label of a metric.
type Choice struct {
	Name, Label, Metric string
	// One: one value at a time, and not several.
	One bool
}

// Row is panels beside each other, of the same width.
type Row struct {
	Height int
	Panels []Panel
}

// Panel is one picture.
type Panel struct {
	// Kind is timeseries, stat or state-timeline.
	Kind, Title, Description string
	// Unit as Grafana names it.
	Unit    string
	Stacked bool
	Queries []Query
}

// Query is an expression, and what its series are called in the legend.
type Query struct{ Expr, Legend string }

type object = map[string]any

// wide is how many columns a dashboard has.
const wide = 24

var datasource = object{"type": "prometheus", "uid": "${datasource}"}

// JSON is the dashboard as Grafana imports it.
func (d *Dashboard) JSON() (string, error) {
	variables := []object{{
		"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": object{}, "hide": 0,
	}}
	for _, c := range d.Choices {
		query := fmt.Sprintf("label_values(%s, %s)", c.Metric, c.Label)
		v := object{
			"name": c.Name, "label": c.Name, "type": "query", "datasource": datasource, "definition": query,
			"query": object{"query": query, "refId": c.Name}, "refresh": 2, "sort": 1, "hide": 0, "multi": !c.One, "includeAll": !c.One,
		}
		if !c.One {
			v["allValue"], v["current"] = ".*", object{"text": "All", "value": "$__all"}
		}
		variables = append(variables, v)
	}
	panels, y := []object{}, 0
	for _, row := range d.Rows {
		width := wide / len(row.Panels)
		for i, p := range row.Panels {
			panels = append(panels, p.object(len(panels)+1, object{"x": i * width, "y": y, "w": width, "h": row.Height}))
		}
		y += row.Height
	}
	text, err := json.MarshalIndent(object{
		"uid": "ebbtide-" + d.File, "title": "Ebbtide / " + d.Title, "description": d.Description, "tags": []string{"ebbtide"},
		"schemaVersion": schemaVersion, "version": 1, "editable": true, "timezone": "", "graphTooltip": 1, "refresh": "30s",
		"time": object{"from": "now-12h", "to": "now"}, "templating": object{"list": variables}, "annotations": object{"list": []object{}},
		"links": []object{{
			"title": "Ebbtide", "type": "dashboards", "tags": []string{"ebbtide"}, "asDropdown": true, "keepTime": true, "includeVars": false,
		}},
		"panels": panels,
	}, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the dashboard %s: %w", d.File, err)
	}
	return string(text) + "\n", nil
}

func (p *Panel) object(id int, at object) object {
	targets := []object{}
	for i, q := range p.Queries {
		targets = append(targets, object{
			"refId": string(rune('A' + i)), "datasource": datasource, "expr": q.Expr, "legendFormat": q.Legend, "range": true,
		})
	}
	custom, options := object{}, object{"tooltip": object{"mode": "multi", "sort": "desc"}, "legend": object{"displayMode": "list", "placement": "bottom", "showLegend": true}}
	switch p.Kind {
	case "timeseries":
		custom = object{"lineWidth": 1, "fillOpacity": 0, "showPoints": "never", "spanNulls": false}
		if p.Stacked {
			custom["stacking"], custom["fillOpacity"] = object{"mode": "normal", "group": "A"}, 40
		}
	case "state-timeline":
		custom, options["mergeValues"], options["showValue"] = object{"fillOpacity": 70, "lineWidth": 0}, true, "auto"
	case "stat":
		options = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}, "graphMode": "area", "colorMode": "none"}
	}
	defaults := object{"unit": p.Unit, "min": 0, "custom": custom, "color": object{"mode": "palette-classic"}}
	if p.Kind == "state-timeline" {
		defaults["color"] = object{"mode": "thresholds"}
		defaults["thresholds"] = object{"mode": "absolute", "steps": []object{{"color": "transparent", "value": nil}, {"color": "blue", "value": 1}}}
	}
	return object{
		"id": id, "type": p.Kind, "title": p.Title, "description": p.Description, "datasource": datasource, "gridPos": at,
		"targets": targets, "fieldConfig": object{"defaults": defaults, "overrides": []object{}}, "options": options,
	}
}
