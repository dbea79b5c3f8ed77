// Package v1alpha1 holds the arguments of the scheduler plugin Ebbtide, as they
// stand in a KubeSchedulerConfiguration under profiles[].pluginConfig[].args.
//
// Decode never guesses: a field it does not know, a duration it cannot read and
// a value outside its bounds are each refused with the field's name and the rule.
package v1alpha1
