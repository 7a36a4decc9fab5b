import type { ShotRequest } from '@comfy-balancer/contract/generate'
import type { KnownNode } from '@comfy-balancer/domain/admission'
import { isAllowedOrigin, loraLabel, loraSourceRule, readLoraSource } from '@comfy-balancer/domain/lora-source'
import { Refusal } from '@comfy-balancer/service-kit/problems'
import { summaryOf } from '../runnable.ts'

/** LoRAs that come along with a request. */
export type BroughtLoras = NonNullable<ShotRequest['loras']>

/** What a node must be labelled with to run a request with these LoRAs. */
export const labelsForLoras = (loras: BroughtLoras): Readonly<Record<string, string>> =>
  loras.length > 0 ? loraLabel : {}

/** Refuses LoRAs that could never be had: from nowhere, from where this tenant may not read, or with no node to take them. */
export const refuseUnfitLoras = (
  loras: BroughtLoras,
  tenant: string,
  { s3Prefixes, nodes }: { readonly s3Prefixes: readonly string[]; readonly nodes: readonly KnownNode[] }
): void => {
  const flaws = loras.flatMap(({ source }, at) => {
    const read = readLoraSource(source)
    if (read && isAllowedOrigin(read, tenant, s3Prefixes)) return []
    const detail = read ? 'this part of S3 may not be read for you' : loraSourceRule
    return [{ pointer: `/loras/${at}/source`, code: 'lora-source', detail }]
  })
  if (flaws.length > 0) throw new Refusal('input-invalid', summaryOf(flaws), { errors: flaws })
  const takes = ({ labels }: KnownNode) => Object.entries(loraLabel).every(([name, value]) => labels[name] === value)
  if (loras.length === 0 || nodes.some(takes)) return
  const detail = 'no node takes LoRAs: its comfy-service needs COMFYUI_MODELS_DIR'
  throw new Refusal('no-capable-node', detail, { errors: [{ pointer: '/loras', code: 'no-models-folder', detail }] })
}
