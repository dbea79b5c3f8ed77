package lab_test

import (
	"testing"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/e2e/lab/labtest"
)

func TestSmoke(t *testing.T) {
	l := labtest.New(t, lab.Options{Nodes: []lab.NodeSpec{{Name: "n1", GPUs: 8}, {Name: "n2", GPUs: 8}}, KubeScheduler: true})
	t.Log(l.Dir())
}
