// Enforces NetworkPolicies on one node: the first packet of each connection waits in a queue of the
// kernel's until Cyclonus, with which Kubernetes' network engines are tested, has judged it by the
// policies, pods and namespaces of that moment.
package main

import (
	"context"
	"encoding/binary"
	"flag"
	"log"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"syscall"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "how to reach the API server")
	queue := flag.Uint("queue", 0, "number of the queue that iptables puts first packets into")
	health := flag.String("health", "", "where /healthz is answered once policies are enforced")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	cluster := watch(ctx, *kubeconfig)
	packets, err := open(uint16(*queue))
	check(err)
	go func() {
		<-ctx.Done()
		packets.close()
	}()
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	go func() { check(http.ListenAndServe(*health, nil)) }()
	for {
		waiting, err := packets.receive()
		if ctx.Err() != nil {
			return
		}
		check(err)
		for _, packet := range waiting {
			traffic := cluster.traffic(packet.payload)
			allowed := traffic == nil || cluster.allows(traffic)
			if !allowed {
				log.Printf("drop %s -> %s:%d", traffic.Source.IP, traffic.Destination.IP, traffic.ResolvedPort)
			}
			check(packets.judge(packet, allowed))
		}
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// What the API server says at the moment.
type cluster struct {
	policies   networkinglisters.NetworkPolicyLister
	pods       corelisters.PodLister
	namespaces corelisters.NamespaceLister
}

func watch(ctx context.Context, kubeconfig string) cluster {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	check(err)
	client, err := kubernetes.NewForConfig(config)
	check(err)
	factory := informers.NewSharedInformerFactory(client, 0)
	watched := cluster{
		policies:   factory.Networking().V1().NetworkPolicies().Lister(),
		pods:       factory.Core().V1().Pods().Lister(),
		namespaces: factory.Core().V1().Namespaces().Lister(),
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return watched
}

func (c cluster) allows(traffic *matcher.Traffic) bool {
	policies, err := c.policies.List(labels.Everything())
	check(err)
	return matcher.BuildNetworkPolicies(false, policies).IsTrafficAllowed(traffic).IsAllowed()
}

var protocols = map[byte]corev1.Protocol{
	syscall.IPPROTO_TCP: corev1.ProtocolTCP,
	syscall.IPPROTO_UDP: corev1.ProtocolUDP,
}

// traffic is what a packet of IPv4 begins; nothing for one without ports.
func (c cluster) traffic(packet []byte) *matcher.Traffic {
	if len(packet) < 20 {
		return nil
	}
	header := int(packet[0]&0xf) * 4
	protocol, known := protocols[packet[9]]
	if packet[0]>>4 != 4 || !known || len(packet) < header+4 {
		return nil
	}
	return &matcher.Traffic{
		Source:       c.peer(packet[12:16]),
		Destination:  c.peer(packet[16:20]),
		ResolvedPort: int(binary.BigEndian.Uint16(packet[header+2:])),
		Protocol:     protocol,
	}
}

func (c cluster) peer(address []byte) *matcher.TrafficPeer {
	ip, _ := netip.AddrFromSlice(address)
	peer := &matcher.TrafficPeer{IP: ip.String()}
	pods, err := c.pods.List(labels.Everything())
	check(err)
	for _, pod := range pods {
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if pod.Status.PodIP != peer.IP || pod.Spec.HostNetwork || ended {
			continue
		}
		namespace, err := c.namespaces.Get(pod.Namespace)
		check(err)
		peer.Internal = &matcher.InternalPeer{
			PodLabels:       pod.Labels,
			NamespaceLabels: namespace.Labels,
			Namespace:       pod.Namespace,
		}
	}
	return peer
}
