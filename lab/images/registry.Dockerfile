FROM scratch
COPY bin/registry /bin/registry
COPY <<EOT /etc/distribution/config.yml
version: 0.1
storage:
  filesystem:
    rootdirectory: /var/lib/registry
  delete:
    enabled: true
http:
  addr: :5000
EOT
# Without it the registry looks for a trace collector on localhost.
ENV OTEL_TRACES_EXPORTER=none
VOLUME /var/lib/registry
EXPOSE 5000
ENTRYPOINT ["registry", "serve"]
CMD ["/etc/distribution/config.yml"]
