// Package main runs KServe's own controller of LLMInferenceServices on a control plane of the tests.
//
// It is KServe's code as its manager runs it, but for its webhooks, which listen on every address
// there. It listens on one address on loopback, given as its only argument, and says there whether
// it is ready.
package main

import (
	"context"
	"log"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kserve/kserve/pkg/apis/serving/v1alpha2"
	"github.com/kserve/kserve/pkg/controller/v1alpha2/llmisvc"
	kservescheme "github.com/kserve/kserve/pkg/scheme"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: kserve ADDRESS")
	}
	ctrl.SetLogger(zap.New())
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(kservescheme.AddLLMISVCAPIs(scheme))
	config := ctrl.GetConfigOrDie()
	clients := kubernetes.NewForConfigOrDie(config)
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: os.Args[1],
	})
	orDie(err)
	orDie(manager.AddReadyzCheck("readyz", healthz.Ping))
	events := record.NewBroadcaster()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clients.CoreV1().Events("")})
	validator := &v1alpha2.LLMInferenceServiceValidator{}
	orDie((&llmisvc.LLMISVCReconciler{
		Client:        manager.GetClient(),
		Config:        config,
		Clientset:     clients,
		EventRecorder: events.NewRecorder(scheme, corev1.EventSource{Component: "llmisvc"}),
		Validator: func(ctx context.Context, service *v1alpha2.LLMInferenceService) error {
			_, err := validator.ValidateCreate(ctx, service)
			return err
		},
	}).SetupWithManager(manager))
	orDie(manager.Start(ctrl.SetupSignalHandler()))
}

func orDie(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
