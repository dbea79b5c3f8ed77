package access

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
)

// How long the API server's answers are believed, and waited for.
const (
	knownFor   = time.Minute
	allowedFor = 5 * time.Minute
	deniedFor  = 30 * time.Second

	reviewTimeout = 5 * time.Second
	// reviewQPS is how many questions a second whoever asks may cause.
	reviewQPS = 200
	// reviewTries are made within reviewTimeout, and no more.
	reviewTries = 3
)

// Where the API server says which authority signs its clients' certificates.
const (
	authorityNamespace = metav1.NamespaceSystem
	authorityConfigMap = "extension-apiserver-authentication"
	authorityKey       = "client-ca-file"
)

// New is a Guard that asks the API server, as the account of config, which needs the verb
// create on tokenreviews and subjectaccessreviews. Client certificates are accepted where it
// may read the ConfigMap that names their authority (Role
// extension-apiserver-authentication-reader in kube-system); elsewhere, tokens only. It
// follows that ConfigMap until ctx ends.
func New(ctx context.Context, config *rest.Config, log logr.Logger) (*Guard, error) {
	config = rest.CopyConfig(config)
	config.Timeout = reviewTimeout
	config.QPS, config.Burst = reviewQPS, 2*reviewQPS
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for reviews: %w", err)
	}
	again := &wait.Backoff{Duration: 250 * time.Millisecond, Factor: 1.5, Jitter: 0.2, Steps: reviewTries}
	authority, err := clientAuthority(ctx, config, log)
	if err != nil {
		log.Info("Client certificates are not accepted, tokens are", "reason", err.Error())
	}
	g := &Guard{Log: log, Authenticator: identities(client.AuthenticationV1().TokenReviews(), *again, authority)}
	g.Authorizer, err = authorizerfactory.DelegatingAuthorizerConfig{
		SubjectAccessReviewClient: client.AuthorizationV1(),
		AllowCacheTTL:             allowedFor, DenyCacheTTL: deniedFor, WebhookRetryBackoff: again,
	}.New()
	if err != nil {
		return nil, fmt.Errorf("prepare SubjectAccessReviews: %w", err)
	}
	return g, nil
}

// clientAuthority is who signs certificates of the cluster's users.
func clientAuthority(ctx context.Context, config *rest.Config, log logr.Logger) (dynamiccertificates.CAContentProvider, error) {
	config = rest.CopyConfig(config)
	config.Timeout = 0 // it is watched
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	soon, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	found, err := client.CoreV1().ConfigMaps(authorityNamespace).Get(soon, authorityConfigMap, metav1.GetOptions{})
	switch {
	case apierrors.IsForbidden(err), apierrors.IsNotFound(err):
		return nil, fmt.Errorf("read ConfigMap %s/%s: %w", authorityNamespace, authorityConfigMap, err)
	case err != nil:
		log.Error(err, "The authority of client certificates is not known yet; until it is, tokens are accepted only")
	case found.Data[authorityKey] == "":
		return nil, errors.New("the API server accepts none: " + authorityConfigMap + " has no " + authorityKey)
	}
	authority, err := dynamiccertificates.NewDynamicCAFromConfigMapController("client-ca", authorityNamespace, authorityConfigMap, authorityKey, client)
	if err != nil {
		return nil, fmt.Errorf("follow ConfigMap %s/%s: %w", authorityNamespace, authorityConfigMap, err)
	}
	go authority.Run(ctx, 1)
	return authority, nil
}
