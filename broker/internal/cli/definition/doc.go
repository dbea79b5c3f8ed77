// Package definition completes and checks objects of Ebbtide's kinds as an API server does
// to which they are applied, with no API server.
//
// It promises the outcome of the shipped CustomResourceDefinitions, by the API server's own
// code: unknown fields are refused, defaults set, and schema, lists and validation rules
// checked, in its order and with its words. There is no second list of rules. It knows
// nothing of admission policies and of who may write what, which are about users, and of no
// other kinds.
package definition
