// Package oracle holds tests that compare Ebbtide's rules with those of the systems
// they were learned from. It is a module of its own, so that the product depends on none
// of them.
package oracle
