package town

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
)

// Answer is what the town answers to somebody.
func (t *Town) Answer(path, token string) (map[string]any, error) {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	t.Handler(http.NotFoundHandler()).ServeHTTP(w, r)
	var body map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		return nil, fmt.Errorf("read the town's answer to %s: %w", path, err)
	}
	return body, nil
}

// Fields are the names of the fields of rows: those that every row has, or any of them. Fields of
// what stands in a field are named as parent.name; of those, every is of all such objects.
func Fields(rows any, every bool) map[string]bool {
	list, _ := rows.([]any)
	counts, inside := map[string]int{}, map[string][]any{}
	for _, row := range list {
		fields, _ := row.(map[string]any)
		for name, value := range fields {
			counts[name]++
			switch v := value.(type) {
			case map[string]any:
				inside[name] = append(inside[name], v)
			case []any:
				inside[name] = append(inside[name], v...)
			}
		}
	}
	names := map[string]bool{}
	for name, n := range counts {
		if !every || n == len(list) {
			names[name] = true
		}
	}
	for parent, objects := range inside {
		for name := range Fields(objects, every) {
			names[parent+"."+name] = true
		}
	}
	return names
}
