package rehearse

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"

	"github.com/ebbtide/ebbtide/deploy"
)

// schemas are those of the served version of each kind, read once.
var schemas = sync.OnceValues(readSchemas)

func readSchemas() (map[string]map[string]any, error) {
	manifests, err := deploy.Manifests()
	if err != nil {
		return nil, fmt.Errorf("reading the definitions: %w", err)
	}
	all := map[string]map[string]any{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		text, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		var u unstructured.Unstructured
		if err == nil {
			u.Object, err = fieldsOf(text)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the definitions: %w", err)
		}
		if u.GetKind() != "CustomResourceDefinition" {
			continue
		}
		kind, _, _ := unstructured.NestedString(u.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(u.Object, "spec", "versions")
		for _, v := range versions {
			if v, is := v.(map[string]any); is && v["served"] == true {
				all[kind], _, _ = unstructured.NestedMap(v, "schema", "openAPIV3Schema")
			}
		}
	}
}

// fill gives an object of ours the defaults of its definition, as the API server does.
func fill(u *unstructured.Unstructured) error {
	all, err := schemas()
	if err != nil {
		return err
	}
	schema := all[u.GetKind()]
	if schema == nil {
		return fmt.Errorf("no definition of kind %s", u.GetKind())
	}
	fillFields(u.Object, schema)
	return nil
}

// fillFields sets what is absent, or null, and has a default, and goes on below what is there then.
func fillFields(value any, schema map[string]any) {
	switch value := value.(type) {
	case map[string]any:
		properties, _ := schema["properties"].(map[string]any)
		for name, property := range properties {
			property, is := property.(map[string]any)
			if !is {
				continue
			}
			if given, there := value[name]; !there || given == nil && property["nullable"] != true {
				standard, has := property["default"]
				if !has {
					continue
				}
				value[name] = runtime.DeepCopyJSONValue(standard)
			}
			fillFields(value[name], property)
		}
	case []any:
		items, _ := schema["items"].(map[string]any)
		for _, item := range value {
			fillFields(item, items)
		}
	}
}
