package definition

import (
	"context"
	"errors"
	"fmt"
	"strings"

	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metavalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Admit gives an object that is new its defaults and checks it. Its errors name the fields
// and the rules, all of them that can be checked at once. It has no status afterwards: who
// creates an object cannot give it one.
func (d *Definition) Admit(u *unstructured.Unstructured) error {
	if err := d.decode(u); err != nil {
		return err
	}
	delete(u.Object, "status")
	defaulting.Default(u.Object, d.schema)
	all := metavalidation.ValidateObjectMetaAccessor(u, d.namespaced, metavalidation.NameIsDNSSubdomain, field.NewPath("metadata"))
	all = append(all, validation.ValidateCustomResource(nil, u.Object, d.fields)...)
	all = append(all, objectmeta.Validate(nil, u.Object, d.schema, false)...)
	all = append(all, listtype.ValidateListSetsAndMaps(nil, d.schema, u.Object)...)
	if !blocks(all) {
		all = append(all, d.follow(u, nil)...)
	}
	return all.ToAggregate()
}

// AdmitChange checks what an object that was admitted may not become: the rules that compare
// it with what it was. Empty lists that one of them has lost come back as their defaults.
func (d *Definition) AdmitChange(from, to *unstructured.Unstructured) error {
	defaulting.Default(from.Object, d.schema)
	defaulting.Default(to.Object, d.schema)
	return d.follow(to, from).ToAggregate()
}

// decode refuses fields that the kind does not have, and takes out those that say nothing.
func (d *Definition) decode(u *unstructured.Unstructured) error {
	meta, has, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return err
	}
	unknown = append(unknown, pruning.PruneWithOptions(u.Object, d.schema, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, d.schema)
	wrong, more := objectmeta.CoerceWithOptions(nil, u.Object, d.schema, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if wrong != nil {
		return wrong
	}
	if unknown = append(unknown, more...); len(unknown) > 0 {
		for i, field := range unknown {
			unknown[i] = fmt.Sprintf("unknown field %q", field)
		}
		return errors.New(strings.Join(unknown, ", "))
	}
	if !has {
		return nil
	}
	return objectmeta.SetObjectMeta(u.Object, meta)
}

// blocks tells whether the rules, which assume that values are what the schema says, are
// not asked.
func blocks(all field.ErrorList) bool {
	for _, err := range all {
		switch err.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}

// follow asks the validation rules about an object, and about what it was if that is given.
func (d *Definition) follow(u, old *unstructured.Unstructured) field.ErrorList {
	rules := d.rules()
	if rules == nil {
		return nil
	}
	var was any // of no type, unless there is one
	if old != nil {
		was = old.Object
	}
	// Nobody waits for long: the API server bounds what rules may cost.
	all, _ := rules.Validate(context.Background(), nil, d.schema, u.Object, was, celconfig.RuntimeCELCostBudget)
	return all
}
