package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/group"
	"k8s.io/apiserver/pkg/authentication/request/bearertoken"
	"k8s.io/apiserver/pkg/authentication/request/union"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authentication/token/cache"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/util/webhook"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/ebbtide/ebbtide/broker/access/terms"
)

// errUnanswered is of a caller of whom the API server did not say who he is. That is no verdict
// on what he showed: he may show the same again.
var errUnanswered = errors.New("the API server does not say who it is")

// identities knows who shows a token that the API server accepts, for itself or for
// terms.Audience, and who shows a certificate of the authority, which is nil where there is none.
func identities(reviews authentication.TokenReviewInterface, again wait.Backoff, authority dynamiccertificates.CAContentProvider) authenticator.Request {
	tokens := bearertoken.New(cache.New(&reviewer{reviews, again}, false, knownFor, knownFor))
	known := []authenticator.Request{tokens, forUs(tokens)}
	if authority != nil {
		known = append([]authenticator.Request{x509.NewDynamic(authority.VerifyOptions, x509.CommonNameUserConversion)}, known...)
	}
	return group.NewAuthenticatedGroupAdder(union.New(known...))
}

// forUs recognizes who shows a token for terms.Audience.
func forUs(tokens authenticator.Request) authenticator.Request {
	return authenticator.RequestFunc(func(r *http.Request) (*authenticator.Response, bool, error) {
		return tokens.AuthenticateRequest(r.WithContext(authenticator.WithAudiences(r.Context(), authenticator.Audiences{terms.Audience})))
	})
}

// reviewer asks by TokenReviews.
type reviewer struct {
	reviews authentication.TokenReviewInterface
	again   wait.Backoff
}

// AuthenticateToken implements authenticator.Token. Its error is errUnanswered where nobody
// said anything about the token.
func (v *reviewer) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	wanted, limited := authenticator.AudiencesFrom(ctx)
	ask := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: wanted}}
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	var said *authenticationv1.TokenReview
	err := webhook.WithExponentialBackoff(ctx, v.again, func() (err error) {
		said, err = v.reviews.Create(ctx, ask, metav1.CreateOptions{})
		return err
	}, webhook.DefaultShouldRetry)
	if err != nil {
		return nil, false, fmt.Errorf("%w: create a TokenReview: %w", errUnanswered, err)
	}
	status := &said.Status
	switch {
	case !status.Authenticated && status.Error != "":
		return nil, false, errors.New(status.Error)
	case !status.Authenticated:
		return nil, false, nil
	}
	// An API server that knows nothing of audiences names none, and then it is for itself.
	audiences := wanted.Intersect(status.Audiences)
	if limited && len(audiences) == 0 {
		return nil, false, nil
	}
	who := &user.DefaultInfo{Name: status.User.Username, UID: status.User.UID, Groups: status.User.Groups, Extra: map[string][]string{}}
	for name, values := range status.User.Extra {
		who.Extra[name] = values
	}
	return &authenticator.Response{User: who, Audiences: audiences}, true, nil
}
