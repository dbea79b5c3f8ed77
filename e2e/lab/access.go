package lab

import (
	"context"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/ebbtide/ebbtide/broker/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab/pki"
)

// tokenSeconds is how long a service account's token is valid; longer than any
// lab lives.
const tokenSeconds = 24 * 3600

// Config returns a client configuration for a user in system:masters, without a
// client-side rate limit. The caller may change it.
func (l *Lab) Config() *rest.Config { return rest.CopyConfig(l.admin) }

// TypedClient returns a client for the kinds of Kubernetes and of Ebbtide, with their Go
// types.
func TypedClient(config *rest.Config) (client.Client, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register the API: %w", err)
		}
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	return c, nil
}

// UserConfig returns a client configuration for an ordinary user, who
// authenticates with a certificate and may do what RBAC allows.
func (l *Lab) UserConfig(name string, groups ...string) (*rest.Config, error) {
	pair, err := l.authority.Client(name, groups...)
	if err != nil {
		return nil, err
	}
	return l.restConfig(pair), nil
}

// UserKubeconfig writes a kubeconfig for an ordinary user and returns its path.
func (l *Lab) UserKubeconfig(name string, groups ...string) (string, error) {
	pair, err := l.authority.Client(name, groups...)
	if err != nil {
		return "", err
	}
	return l.writeKubeconfig("user-"+name, &clientcmdapi.AuthInfo{
		ClientCertificateData: pair.CertPEM, ClientKeyData: pair.KeyPEM,
	})
}

// KubeconfigFor writes a kubeconfig that acts as a service account, with a token
// from the TokenRequest API, and returns its path. The account must exist.
func (l *Lab) KubeconfigFor(ctx context.Context, namespace, serviceAccount string) (string, error) {
	token, err := l.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, serviceAccount,
		&authenticationv1.TokenRequest{
			Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](tokenSeconds)},
		}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for service account %s/%s: %w", namespace, serviceAccount, err)
	}
	return l.writeKubeconfig("serviceaccount-"+namespace+"-"+serviceAccount,
		&clientcmdapi.AuthInfo{Token: token.Status.Token})
}

func (l *Lab) restConfig(pair pki.Pair) *rest.Config {
	return &rest.Config{
		Host:  "https://" + l.apiAddr,
		QPS:   -1,
		Burst: -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: l.authority.CertPEM, CertData: pair.CertPEM, KeyData: pair.KeyPEM,
		},
	}
}

func (l *Lab) writeKubeconfig(name string, user *clientcmdapi.AuthInfo) (string, error) {
	const entry = "lab"
	config := clientcmdapi.NewConfig()
	config.Clusters[entry] = &clientcmdapi.Cluster{
		Server: "https://" + l.apiAddr, CertificateAuthorityData: l.authority.CertPEM,
	}
	config.AuthInfos[entry] = user
	config.Contexts[entry] = &clientcmdapi.Context{Cluster: entry, AuthInfo: entry}
	config.CurrentContext = entry
	text, err := clientcmd.Write(*config)
	if err != nil {
		return "", fmt.Errorf("encode the kubeconfig of %s: %w", name, err)
	}
	return l.folder.Write("kubeconfig/"+name+".yaml", text)
}

// keyFiles are the paths of what the parts read at start.
type keyFiles struct {
	ca, servingCert, servingKey   string
	adminCert, adminKey           string
	etcdCA, etcdCert, etcdKey     string
	accountPublic, accountPrivate string
	frontProxyCA                  string
	proxyCert, proxyKey           string
}

// writeKeys makes the lab's authorities and all keys that parts read from files.
// etcd has an authority of its own, so that no tenant's certificate opens the way
// around the API server; and so has the API server as a proxy, so that no tenant's
// certificate lets him speak for others.
func (l *Lab) writeKeys() (admin, etcd pki.Pair, err error) {
	if l.authority, err = pki.NewAuthority("ebbtide-lab"); err != nil {
		return admin, etcd, err
	}
	if l.etcdAuthority, err = pki.NewAuthority("ebbtide-lab-etcd"); err != nil {
		return admin, etcd, err
	}
	serving, err := l.authority.Server("ebbtide-lab", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
	if err != nil {
		return admin, etcd, err
	}
	if admin, err = l.authority.Client("lab-admin", "system:masters"); err != nil {
		return admin, etcd, err
	}
	if etcd, err = l.etcdAuthority.Server("etcd"); err != nil {
		return admin, etcd, err
	}
	frontProxy, err := pki.NewAuthority("ebbtide-lab-front-proxy")
	if err != nil {
		return admin, etcd, err
	}
	proxy, err := frontProxy.Client(frontProxyName)
	if err != nil {
		return admin, etcd, err
	}
	private, public, err := pki.SigningKey()
	if err != nil {
		return admin, etcd, err
	}
	for _, file := range []struct {
		name string
		text []byte
		path *string
	}{
		{"ca.crt", l.authority.CertPEM, &l.files.ca},
		{"serving.crt", serving.CertPEM, &l.files.servingCert},
		{"serving.key", serving.KeyPEM, &l.files.servingKey},
		{"admin.crt", admin.CertPEM, &l.files.adminCert},
		{"admin.key", admin.KeyPEM, &l.files.adminKey},
		{"etcd-ca.crt", l.etcdAuthority.CertPEM, &l.files.etcdCA},
		{"etcd.crt", etcd.CertPEM, &l.files.etcdCert},
		{"etcd.key", etcd.KeyPEM, &l.files.etcdKey},
		{"front-proxy-ca.crt", frontProxy.CertPEM, &l.files.frontProxyCA},
		{"front-proxy.crt", proxy.CertPEM, &l.files.proxyCert},
		{"front-proxy.key", proxy.KeyPEM, &l.files.proxyKey},
		{"service-account.pub", public, &l.files.accountPublic},
		{"service-account.key", private, &l.files.accountPrivate},
	} {
		if *file.path, err = l.folder.Write("pki/"+file.name, file.text); err != nil {
			return admin, etcd, err
		}
	}
	return admin, etcd, nil
}
