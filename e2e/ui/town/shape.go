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

// Fields are the names of the fields of rows: those that every row has, or any of them.
func Fields(rows any, every bool) map[string]bool {
	list, _ := rows.([]any)
	counts := map[string]int{}
	for _, row := range list {
		fields, _ := row.(map[string]any)
		for name := range fields {
			counts[name]++
		}
	}
	names := map[string]bool{}
	for name, n := range counts {
		if !every || n == len(list) {
			names[name] = true
		}
	}
	return names
}
