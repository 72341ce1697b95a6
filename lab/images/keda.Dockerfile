FROM scratch AS operator
COPY bin/keda-operator /keda
USER 65532:65532
ENTRYPOINT ["/keda", "--zap-log-level=info", "--zap-encoder=console"]

FROM scratch AS adapter
COPY bin/keda-adapter /keda-adapter
USER 65532:65532
ENTRYPOINT ["/keda-adapter", "--secure-port=6443", "--zap-log-level=info", "--zap-encoder=console"]
