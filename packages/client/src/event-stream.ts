/** One message of a Server-Sent Events stream. */
export type StreamEvent = { readonly id: string | undefined; readonly event: string; readonly data: string }

const maxMessageChars = 1_048_576

/**
 * Reads Server-Sent Events (WHATWG HTML 9.2) from a body. Ends with the body; throws when a single message grows past a million
 * characters or nothing at all, not even a comment, arrives for `silenceMs`.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  { silenceMs }: { silenceMs: number }
): AsyncGenerator<StreamEvent> {
  const reader = body.getReader()
  const decoder = new TextDecoder()
  let rest = ''
  try {
    for (;;) {
      const { done, value } = await readWithin(reader, silenceMs)
      if (done) return
      const blocks = (rest + decoder.decode(value, { stream: true })).replace(/\r\n?/g, '\n').split('\n\n')
      rest = blocks.pop() ?? ''
      if (rest.length > maxMessageChars) throw new Error('an event is longer than a million characters')
      for (const block of blocks) {
        const event = parseBlock(block)
        if (event) yield event
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined)
  }
}

const readWithin = async (reader: ReadableStreamDefaultReader<Uint8Array>, silenceMs: number) => {
  let timer: ReturnType<typeof setTimeout> | undefined
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the event stream was silent for ${silenceMs} ms`)), silenceMs)
  })
  try {
    return await Promise.race([reader.read(), silence])
  } finally {
    clearTimeout(timer)
  }
}

const parseBlock = (block: string): StreamEvent | undefined => {
  const fields = new Map<string, string>()
  for (const line of block.split('\n')) {
    const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line) ?? []
    if (!name || value === undefined) continue
    const before = fields.get(name)
    fields.set(name, name === 'data' && before !== undefined ? `${before}\n${value}` : value)
  }
  const data = fields.get('data')
  if (data === undefined) return undefined
  return { id: fields.get('id'), event: fields.get('event') ?? 'message', data }
}
