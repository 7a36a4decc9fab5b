const idFields = ['service', 'instance', 'node', 'nodeId', 'event', 'reqId', 'taskId', 'errorSource', 'trace_id']
const numberFields = ['level', 'time', 'attempt', 'statusCode', 'durationMs']
const maxId = 128
const maxText = 3072
const maxErrorMessage = 2048

/**
 * A log line that stays below a reader's limit: as it is, or else what identifies it and the beginning of its texts. A character
 * takes at most 6 bytes of JSON, so a shortened line is below 60,000 bytes.
 */
export const shortLine = (line: string, maxBytes: number): { line: string; shortened: boolean } => {
  const bytes = Buffer.byteLength(line)
  if (bytes <= maxBytes) return { line, shortened: false }
  return { line: JSON.stringify({ ...pick(parse(line)), shortenedFromBytes: bytes }), shortened: true }
}

const parse = (line: string): Record<string, unknown> => {
  try {
    return JSON.parse(line) as Record<string, unknown>
  } catch {
    return { level: 40, msg: 'a line that is too long and not JSON' }
  }
}

const pick = (record: Record<string, unknown>): Record<string, unknown> => {
  const kept: Record<string, unknown> = {}
  for (const name of numberFields) if (typeof record[name] === 'number') kept[name] = record[name]
  for (const name of idFields) {
    const value = record[name]
    if (typeof value === 'string') kept[name] = value.slice(0, maxId)
  }
  if (typeof record.msg === 'string') kept.msg = record.msg.slice(0, maxText)
  if (typeof record.err === 'object' && record.err !== null) kept.err = pickError(record.err as Record<string, unknown>)
  return kept
}

const pickError = (err: Record<string, unknown>): Record<string, unknown> => ({
  type: String(err.type).slice(0, maxId),
  message: String(err.message).slice(0, maxErrorMessage),
  stack: String(err.stack).slice(0, maxText)
})
