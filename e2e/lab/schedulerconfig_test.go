package lab

import "testing"

func TestCompleteScheduler(t *testing.T) {
	tests := []struct {
		name, in, want, err string
	}{
		{
			name: "nothing given",
			want: "apiVersion: kubescheduler.config.k8s.io/v1\nclientConnection:\n  burst: 2000\n  kubeconfig: /k\n  qps: 1000\n" +
				"kind: KubeSchedulerConfiguration\nleaderElection:\n  leaderElect: false\n",
		},
		{
			name: "the caller's choices stay, but for the kubeconfig",
			in:   "apiVersion: v\nkind: K\nclientConnection: {kubeconfig: /other, qps: 5, burst: 6}\nleaderElection: {leaderElect: true}\n",
			want: "apiVersion: v\nclientConnection:\n  burst: 6\n  kubeconfig: /k\n  qps: 5\nkind: K\nleaderElection:\n  leaderElect: true\n",
		},
		{
			name: "not an object",
			in:   "leaderElection: yes please\n",
			err:  "read the KubeSchedulerConfiguration: leaderElection must be an object",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := completeScheduler([]byte(test.in), "/k")
			if (err == nil) != (test.err == "") || err != nil && err.Error() != test.err {
				t.Fatalf("error %v, want %q", err, test.err)
			}
			if string(got) != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}
