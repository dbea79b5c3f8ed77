package v1alpha1

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ebbtide/ebbtide/broker/lend"
)

func TestDecode(t *testing.T) {
	raw := func(s string) runtime.Object { return &runtime.Unknown{Raw: []byte(s)} }
	for name, tc := range map[string]struct {
		in      runtime.Object
		want    EbbtideArgs
		wantErr string
	}{
		"no args":        {in: nil, want: Default()},
		"empty raw":      {in: raw(""), want: Default()},
		"empty document": {in: raw("{}"), want: Default()},
		"all": {
			in:   raw(`{"apiVersion":"ebbtide.dev/v1alpha1","kind":"EbbtideArgs","takeBackAfter":"0s","gangTimeout":"2m","maxGrace":"1h","restartCost":"5m"}`),
			want: EbbtideArgs{GangTimeout: 2 * time.Minute, MaxGrace: time.Hour, RestartCost: 5 * time.Minute},
		},
		"one keeps the others' defaults": {
			in:   raw(`{"takeBackAfter":"250ms"}`),
			want: EbbtideArgs{TakeBackAfter: 250 * time.Millisecond, GangTimeout: DefaultGangTimeout, MaxGrace: DefaultMaxGrace, RestartCost: DefaultRestartCost},
		},
		"unknown field":    {in: raw(`{"takeBackAftr":"1s"}`), wantErr: `unknown field "takeBackAftr"`},
		"no duration":      {in: raw(`{"gangTimeout":"soon"}`), wantErr: `gangTimeout: Invalid value: "soon": must be a duration such as "30s"`},
		"too short":        {in: raw(`{"gangTimeout":"10ms"}`), wantErr: `gangTimeout: Invalid value: "10ms": must be between 1s and 10m0s`},
		"no grace":         {in: raw(`{"maxGrace":"0s"}`), wantErr: `maxGrace: Invalid value: "0s": must be between 1s and 1h0m0s`},
		"endless grace":    {in: raw(`{"maxGrace":"61m"}`), wantErr: `maxGrace: Invalid value: "1h1m0s": must be between 1s and 1h0m0s`},
		"endless restart":  {in: raw(`{"restartCost":"25h"}`), wantErr: `restartCost: Invalid value: "25h0m0s": must be between 0s and 24h0m0s`},
		"negative":         {in: raw(`{"takeBackAfter":"-1s"}`), wantErr: `takeBackAfter: Invalid value: "-1s": must be between 0s and 1m0s`},
		"wrong kind":       {in: raw(`{"kind":"CoschedulingArgs"}`), wantErr: `kind: Unsupported value: "CoschedulingArgs"`},
		"wrong apiVersion": {in: raw(`{"apiVersion":"v1"}`), wantErr: `apiVersion: Unsupported value: "v1"`},
		"wrong type":       {in: &corev1.Pod{}, wantErr: "want args of type *runtime.Unknown, got *v1.Pod"},
		"a number":         {in: raw(`{"gangTimeout":30}`), wantErr: "gangTimeout"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Decode(tc.in)
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Fatalf("error = %v, want one with %q", err, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tc.want, got); diff != "" {
				t.Errorf("args (-want +got):\n%s", diff)
			}
		})
	}
}

// Left alone, the broker and the scheduler count the same.
func TestDefaultRestartCostIsTheBrokers(t *testing.T) {
	if got, want := Default().RestartCost, lend.DefaultPolicy().RestartCost; got != want {
		t.Errorf("restartCost = %s, and the broker's is %s", got, want)
	}
}
