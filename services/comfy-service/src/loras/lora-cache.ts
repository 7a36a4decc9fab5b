import { createHash } from 'node:crypto'
import { open, rm } from 'node:fs/promises'
import { isSafetensors, safetensorsHeadBytes } from '@comfy-balancer/domain/lora-source'
import type { Log } from '@comfy-balancer/service-kit/log'
import { InputUnavailable } from '../inputs/input-unavailable.ts'
import { contentOf, type LoraFolder, loraFileOf } from './lora-folder.ts'
import type { FindLora, LoraOrigin } from './lora-origin.ts'

/** `budgetBytes` bounds what is kept in all, `maxBytes` one file, `totalMs` one download. */
export type LoraCacheOptions = {
  readonly budgetBytes: number
  readonly maxBytes: number
  readonly totalMs?: number
}

export type LoraCacheDeps = {
  readonly folder: LoraFolder
  readonly find: FindLora
  readonly closeSources?: () => Promise<void>
  readonly log: Log
}

/** A LoRA to have: its source as the caller wrote it, whose it is, and the digest it must have, if that was said. */
export type WantedLora = { readonly source: string; readonly tenant: string; readonly sha256?: string | undefined }

export type LoraCache = ReturnType<typeof createLoraCache>

/**
 * Brings LoRAs into ComfyUI's models folder: each once however many wait for it, checked, within a disk budget. What is evicted was used
 * longest ago and is held by nobody.
 */
export const createLoraCache = (
  { budgetBytes, maxBytes, totalMs = 1_800_000 }: LoraCacheOptions,
  { folder, find, closeSources, log }: LoraCacheDeps
) => {
  const downloads = new Map<string, Promise<string>>()
  const closing = new AbortController()
  let reservedBytes = 0

  const makeRoom = async (bytes: number): Promise<void> => {
    if (bytes > Math.min(maxBytes, budgetBytes)) {
      throw new InputUnavailable(
        'too-large',
        `the LoRA has ${bytes} bytes; the limit is ${Math.min(maxBytes, budgetBytes)}`
      )
    }
    const kept = await folder.kept()
    let used = kept.reduce((sum, one) => sum + one.bytes, 0) + reservedBytes
    for (const { file, bytes: freed } of kept) {
      if (used + bytes <= budgetBytes) return
      if (!(await folder.evict(file))) continue
      used -= freed
      log.info({ file, bytes: freed }, 'lora evicted')
    }
    if (used + bytes <= budgetBytes) return
    throw new InputUnavailable('unreachable', 'there is no room for the LoRA while others are in use')
  }

  const download = async (origin: LoraOrigin): Promise<string> => {
    const startedAtMs = performance.now()
    await makeRoom(origin.bytes)
    reservedBytes += origin.bytes
    const temporary = folder.newTemporary()
    const limit = new AbortController()
    const giveUp = () => limit.abort()
    const timer = setTimeout(giveUp, totalMs)
    closing.signal.addEventListener('abort', giveUp, { once: true })
    try {
      const sha256 = await write(origin, temporary, limit.signal)
      const file = loraFileOf(origin.identity, sha256)
      await folder.admit(temporary, file)
      log.info({ file, bytes: origin.bytes, durationMs: Math.round(performance.now() - startedAtMs) }, 'lora fetched')
      return file
    } catch (cause) {
      await rm(temporary, { force: true }).catch(() => undefined)
      if (cause instanceof InputUnavailable) throw cause
      throw new InputUnavailable('unreachable', 'the LoRA could not be fetched', { cause })
    } finally {
      clearTimeout(timer)
      closing.signal.removeEventListener('abort', giveUp)
      reservedBytes -= origin.bytes
    }
  }

  const once = (origin: LoraOrigin): Promise<string> => {
    const running = downloads.get(origin.identity) ?? download(origin).finally(() => downloads.delete(origin.identity))
    downloads.set(origin.identity, running)
    return running
  }

  const held = async (file: string): Promise<boolean> => {
    await folder.hold(file)
    if (await folder.has(file)) return true
    await folder.letGo(file)
    return false
  }

  return {
    /**
     * The file of a LoRA, fetched when it is not there, and held until `letGo`. A download goes on for those who come next when the one who
     * asked gives up. Throws InputUnavailable, or the signal's reason.
     */
    async take({ source, tenant, sha256 }: WantedLora, signal: AbortSignal): Promise<string> {
      const origin = await find(source, tenant)
      for (;;) {
        const known = await folder.use(origin.identity)
        const file = known ?? (await orGivenUp(once(origin), signal))
        if (sha256 !== undefined && !sha256.startsWith(contentOf(file))) {
          throw new InputUnavailable('flawed', `${source} has another sha256 than the request says`)
        }
        signal.throwIfAborted()
        if (await held(file)) return file
      }
    },

    nameOf: folder.nameOf,
    renew: folder.hold,
    holding: folder.holding,
    letGo: folder.letGo,

    /** Gives up what is being fetched. */
    async close(): Promise<void> {
      closing.abort()
      await closeSources?.()
    }
  }
}

const orGivenUp = <T>(work: Promise<T>, signal: AbortSignal): Promise<T> =>
  new Promise((resolve, reject) => {
    const giveUp = () => reject(signal.reason)
    if (signal.aborted) giveUp()
    signal.addEventListener('abort', giveUp, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp))
  })

/** Writes and checks the bytes; their digest. */
const write = async (origin: LoraOrigin, path: string, signal: AbortSignal): Promise<string> => {
  const stream = await origin.open()
  const stop = () => void stream.destroy(new Error('given up'))
  if (signal.aborted) stop()
  signal.addEventListener('abort', stop, { once: true })
  const target = await open(path, 'wx', 0o644)
  try {
    const hash = createHash('sha256')
    let head = Buffer.alloc(0)
    let bytes = 0
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (head.length < safetensorsHeadBytes) {
        head = Buffer.concat([head, chunk]).subarray(0, safetensorsHeadBytes)
        if (head.length === safetensorsHeadBytes)
          check(isSafetensors(head, origin.bytes), 'the LoRA is no safetensors file')
      }
      bytes += chunk.length
      check(bytes <= origin.bytes, 'the LoRA is longer than its store said')
      hash.update(chunk)
      await target.writeFile(chunk)
    }
    check(head.length === safetensorsHeadBytes, 'the LoRA is no safetensors file')
    if (bytes !== origin.bytes) throw new InputUnavailable('unreachable', 'the bytes of the LoRA broke off')
    const sha256 = hash.digest('hex')
    check(origin.sha256 === undefined || origin.sha256 === sha256, 'the LoRA is not what was uploaded')
    return sha256
  } finally {
    signal.removeEventListener('abort', stop)
    stream.destroy()
    await target.close()
  }
}

const check = (isFine: boolean, flaw: string): void => {
  if (!isFine) throw new InputUnavailable('flawed', flaw)
}
