/** One stored output of a task as the ledger keeps it: where its bytes are, and what a caller is told. */
export type StoredOutput = {
  readonly attempt: number
  readonly index: number
  readonly path: string
  readonly filename: string
  readonly mediaType: string
  readonly bytes: number
  readonly sha256: string
  readonly graphNode: string
  readonly kind: string
  readonly durable: boolean
}
