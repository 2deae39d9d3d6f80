// Package main runs Karpenter with its kwok cloud, which makes nodes without machines, on a control
// plane of the tests.
//
// It is Karpenter's code as its own program runs it, but for the addresses: that one listens on
// every one. Metrics are off; health is on the address on loopback in HEALTH_ADDRESS.
package main

import (
	"context"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	kwok "sigs.k8s.io/karpenter/kwok/cloudprovider"
	_ "sigs.k8s.io/karpenter/kwok/options"
	v1 "sigs.k8s.io/karpenter/pkg/apis/v1"
	"sigs.k8s.io/karpenter/pkg/cloudprovider/overlay"
	"sigs.k8s.io/karpenter/pkg/controllers"
	"sigs.k8s.io/karpenter/pkg/controllers/nodeoverlay"
	"sigs.k8s.io/karpenter/pkg/controllers/state"
	"sigs.k8s.io/karpenter/pkg/events"
	"sigs.k8s.io/karpenter/pkg/operator/injection"
	"sigs.k8s.io/karpenter/pkg/operator/options"
)

func main() {
	ctrl.SetLogger(zap.New())
	ctx := injection.WithOptionsOrDie(context.Background(), options.Injectables...)
	config := ctrl.GetConfigOrDie()
	config.QPS, config.Burst = 200, 300
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme.Scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: os.Getenv("HEALTH_ADDRESS"),
		BaseContext:            func() context.Context { return ctx },
	})
	orDie(err)
	orDie(manager.AddReadyzCheck("readyz", healthz.Ping))
	index(ctx, manager)
	types, err := kwok.ConstructInstanceTypes(ctx)
	orDie(err)
	clients := manager.GetClient()
	bare := kwok.NewCloudProvider(ctx, clients, types)
	store := nodeoverlay.NewInstanceTypeStore()
	cloud := overlay.Decorate(bare, clients, store)
	now := clock.RealClock{}
	recorder := events.NewRecorder(manager.GetEventRecorderFor("karpenter"))
	cluster := state.NewCluster(now, clients, cloud)
	for _, one := range controllers.NewControllers(
		ctx, manager, now, clients, recorder, cloud, bare, cluster, store,
	) {
		orDie(one.Register(ctx, manager))
	}
	orDie(manager.Start(ctrl.SetupSignalHandler()))
}

// index makes the indices that its controllers look objects up by.
func index(ctx context.Context, manager ctrl.Manager) {
	fields := manager.GetFieldIndexer()
	one := func(object client.Object, field string, of func(client.Object) string) {
		orDie(fields.IndexField(ctx, object, field, func(found client.Object) []string {
			return []string{of(found)}
		}))
	}
	one(&corev1.Pod{}, "spec.nodeName", func(o client.Object) string {
		return o.(*corev1.Pod).Spec.NodeName
	})
	one(&corev1.Node{}, "spec.providerID", func(o client.Object) string {
		return o.(*corev1.Node).Spec.ProviderID
	})
	one(&storagev1.VolumeAttachment{}, "spec.nodeName", func(o client.Object) string {
		return o.(*storagev1.VolumeAttachment).Spec.NodeName
	})
	one(&v1.NodeClaim{}, "status.providerID", func(o client.Object) string {
		return o.(*v1.NodeClaim).Status.ProviderID
	})
	for field, of := range map[string]func(v1.NodeClassReference) string{
		"group": func(ref v1.NodeClassReference) string { return ref.Group },
		"kind":  func(ref v1.NodeClassReference) string { return ref.Kind },
		"name":  func(ref v1.NodeClassReference) string { return ref.Name },
	} {
		one(&v1.NodeClaim{}, "spec.nodeClassRef."+field, func(o client.Object) string {
			return of(*o.(*v1.NodeClaim).Spec.NodeClassRef)
		})
		one(&v1.NodePool{}, "spec.template.spec.nodeClassRef."+field, func(o client.Object) string {
			return of(*o.(*v1.NodePool).Spec.Template.Spec.NodeClassRef)
		})
	}
}

func orDie(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
