// Package rbac reads the rules that Ebbtide's roles grant, as they are rendered.
//
// It promises that Rules has a line for each resource of each rule of each role, with all
// its verbs, so that two installs grant the same if and only if their Rules are equal. It
// refuses to judge: what each verb is for stands in docs/security/roles.md, which its test
// compares.
package rbac
