import { useState } from 'preact/hooks'
import { ask } from './api.ts'
import { connectFleet } from './fleet-store.ts'

/** Asks for an API key. The key itself is not kept: the service answers with a cookie that this page cannot read. */
export const SignIn = ({ reason }: { readonly reason: string | undefined }) => {
  const [error, setError] = useState('')
  const [isBusy, setBusy] = useState(false)
  const signIn = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault()
    const key = (event.currentTarget as HTMLFormElement).elements.namedItem('key') as HTMLInputElement
    setBusy(true)
    try {
      await ask('/api/v1/session', { method: 'POST', headers: { authorization: `Bearer ${key.value.trim()}` } })
      connectFleet()
    } catch (cause) {
      setError(cause instanceof Error ? cause.message : String(cause))
      key.focus()
    }
    setBusy(false)
  }
  return (
    <section class="notice">
      <h1>Sign in</h1>
      <form class="sign-in" onSubmit={signIn}>
        <label for="key">API key</label>
        <input
          id="key"
          name="key"
          type="password"
          autocomplete="current-password"
          required
          aria-invalid={error !== ''}
          aria-describedby="key-hint"
        />
        <button type="submit" class="primary" disabled={isBusy}>
          Sign in
        </button>
        <p role="alert" class="bad-text">
          {error}
        </p>
        <div id="key-hint" class="quiet">
          <p>
            {reason?.startsWith('The session')
              ? reason
              : 'A key with the scope nodes:read shows the fleet. To make one:'}
          </p>
          <p>
            <code>npm run keys -- create --tenant ops --scopes admin</code>
          </p>
        </div>
      </form>
    </section>
  )
}
