-- Marks a call of UpdateBuildHistory that finalizes a record and does nothing else. It is compared
-- with the one encoding that clients send, so that nothing has to be read as buildkitd reads it.
function envoy_on_request(request)
  local body = request:body(true)
  local size = body:length()
  local ref_size = size - 9
  -- Up to 127 a length is one byte. buildx makes references of 25.
  if ref_size < 1 or ref_size > 127 then
    return
  end
  local bytes = body:getBytes(0, size)
  local header = "\0\0\0\0" .. string.char(size - 5) -- gRPC's: one message, not compressed
  local ref = "\10" .. string.char(ref_size) .. bytes:sub(8, -3) -- string Ref = 1
  local finalize = "\32\1" -- bool Finalize = 4
  if bytes == header .. ref .. finalize then
    request:streamInfo():dynamicMetadata():set("buildkit", "finalize", true)
  end
end
