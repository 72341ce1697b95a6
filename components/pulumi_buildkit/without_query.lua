-- A route's rewrite keeps the query, which the admin interface would obey. No other filter of Envoy
-- may change :path.
function envoy_on_request(request)
  local headers = request:headers()
  headers:replace(":path", (headers:get(":path"):gsub("[?#].*", "")))
end
