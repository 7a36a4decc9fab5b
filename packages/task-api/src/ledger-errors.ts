import { Refusal } from '@comfy-balancer/service-kit/problems'

/**
 * Waits for the ledger and turns its outage into an honest 503: `queue-full` when Redis is out of memory, `fleet-unavailable` when it does
 * not answer. Any other error stays what it is.
 */
export const fromLedger = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work
  } catch (error) {
    throw asRefusal(error)
  }
}

const asRefusal = (error: unknown): unknown => {
  if (!(error instanceof Error)) return error
  if (error.message.startsWith('OOM ')) {
    return new Refusal('queue-full', 'The ledger is out of memory; running tasks go on', { retryAfterSeconds: 30 })
  }
  const away =
    /Command timed out|Connection is closed|ECONNREFUSED|ECONNRESET|ETIMEDOUT|max retries|LOADING|MASTERDOWN|READONLY/i
  if (away.test(error.message) || error.name === 'MaxRetriesPerRequestError') {
    return new Refusal(
      'fleet-unavailable',
      'The ledger does not answer; send the request again with the same Idempotency-Key'
    )
  }
  return error
}
