FROM scratch
COPY bin/local-path-provisioner /usr/bin/local-path-provisioner
ENTRYPOINT ["local-path-provisioner"]
