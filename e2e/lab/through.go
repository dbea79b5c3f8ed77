package lab

import (
	"fmt"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

// Upstream is what something needs to stand between a program and the API server.
type Upstream struct {
	// Server is the API server's own URL, CA the authority that it is known by, in PEM.
	Server string
	CA     []byte
	// Serving is a certificate for loopback of the same authority, made anew.
	Serving pki.Pair
}

// Upstream returns the API server as it is without anything in between.
func (e Env) Upstream() (Upstream, error) {
	pair, err := e.lab.authority.Server("ebbtide-lab-between", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return Upstream{}, err
	}
	return Upstream{Server: "https://" + e.lab.apiAddr, CA: e.lab.authority.CertPEM, Serving: pair}, nil
}

// kubeconfigThrough writes a program's kubeconfig anew, with the address of what stands
// between it and the API server.
func (l *Lab) kubeconfigThrough(e Env, through func(Env) (string, []byte, error)) (string, error) {
	server, ca, err := through(e)
	if err != nil {
		return "", fmt.Errorf("put something between %s and the API server: %w", e.Part, err)
	}
	config, err := clientcmd.LoadFromFile(e.Kubeconfig)
	if err != nil {
		return "", fmt.Errorf("read the kubeconfig of %s: %w", e.Part, err)
	}
	for _, cluster := range config.Clusters {
		cluster.Server, cluster.CertificateAuthorityData = server, ca
	}
	text, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("encode the kubeconfig of %s: %w", e.Part, err)
	}
	return l.folder.Write("kubeconfig/through-"+e.Part+".yaml", text)
}
