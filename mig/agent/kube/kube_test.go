package kube

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ebbtide/ebbtide/mig/agent"
)

func TestRival(t *testing.T) {
	for name, c := range map[string]struct {
		node corev1.Node
		pod  corev1.Pod
		want string
	}{
		"nobody":                           {},
		"a label":                          {node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"nvidia.com/mig.config": "all-1g.5gb"}}}, want: "mig-manager (label nvidia.com/mig.config=all-1g.5gb)"},
		"its state":                        {node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"nvidia.com/mig.config.state": "success"}}}},
		"mig-manager":                      {pod: trusted(managerPod("gpu-operator")), want: "mig-manager (pod gpu-operator/mm)"},
		"a tenant's pod with its label":    {pod: managerPod("team-a")},
		"a tenant's pod with its variable": {pod: draPod("DynamicMIG=true")},
		"HAMi": {node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"hami.io/node-nvidia-register": `[{"id":"GPU-1","count":7,"mode":"mig","health":true}]`}}}, want: "HAMi in MIG mode"},
		"HAMi, as it was written before": {node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"hami.io/node-nvidia-register": "GPU-1,7,40960,100,NVIDIA-A100,0,true,0,mig:"}}}, want: "HAMi in MIG mode"},
		"HAMi without MIG": {node: corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
			"hami.io/node-nvidia-register": "GPU-1,10,32768,100,NVIDIA-Tesla V100,0,true:"}}}},
		"the DRA driver":        {pod: trusted(draPod("NVMLDeviceHealthCheck=true,DynamicMIG=true")), want: "DynamicMIG (pod dra/plugin)"},
		"the DRA driver's rest": {pod: trusted(draPod("DynamicMIG=false"))},
	} {
		t.Run(name, func(t *testing.T) {
			if got := rival(&c.node, []corev1.Pod{c.pod}); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
				t.Errorf("rival %q, want %q", got, c.want)
			}
		})
	}
}

func managerPod(namespace string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "mm", Labels: map[string]string{"app": "nvidia-mig-manager"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{}}},
	}
}

// trusted is a pod as only administrators may make it.
func trusted(p corev1.Pod) corev1.Pod {
	p.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: ptr.To(true)}
	return p
}

func draPod(gates string) corev1.Pod {
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "dra", Name: "plugin"}, Spec: corev1.PodSpec{
		Containers: []corev1.Container{{Env: []corev1.EnvVar{{Name: "FEATURE_GATES", Value: gates}}}},
	}}
}

func TestMissing(t *testing.T) {
	node := &corev1.Node{Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		"nvidia.com/mig-1g.5gb": resource.MustParse("3"), "nvidia.com/mig-4g.20gb": resource.MustParse("1"), "cpu": resource.MustParse("8"),
	}}}
	if err := missing(node, agent.Change{Resources: map[string]int64{"nvidia.com/mig-1g.5gb": 3, "nvidia.com/mig-4g.20gb": 1, "nvidia.com/mig-7g.40gb": 0}}); err != nil {
		t.Error(err)
	}
	err := missing(node, agent.Change{Resources: map[string]int64{"nvidia.com/mig-1g.5gb": 7}})
	if err == nil || !strings.Contains(err.Error(), "offers 3 nvidia.com/mig-1g.5gb and has 7") {
		t.Errorf("the error is %v", err)
	}
	// Of a GPU that is not healthy some, all or none may be offered.
	for firm, ok := range map[int64]bool{0: false, 1: true, 3: true, 4: false} {
		change := agent.Change{Resources: map[string]int64{"nvidia.com/mig-1g.5gb": firm}, Doubtful: map[string]int64{"nvidia.com/mig-1g.5gb": 2}}
		if err := missing(node, change); (err == nil) != ok {
			t.Errorf("3 are offered, and there are %d and maybe 2 more: %v", firm, err)
		}
	}
}

func TestSelectors(t *testing.T) {
	for text, ok := range map[string]bool{"app=nvidia-device-plugin-daemonset": true, "": false, "a b": false} {
		if _, err := NewDevicePlugin(nil, text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}
