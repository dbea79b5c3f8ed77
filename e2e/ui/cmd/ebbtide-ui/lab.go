package main

import (
	"context"

	"github.com/ebbtide/ebbtide/e2e/ui/check"
)

func inLab(context.Context, *check.Suite, string, *result) error { return nil }
