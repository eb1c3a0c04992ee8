import { useEffect, useRef, useState } from 'preact/hooks';
import { Problem } from '../problem';
import { signInAsDemo, signInWith } from '../session';

/** Asks for a token, and says why when there was one that was refused. */
export function SignIn({ problem }: { problem: Problem | null }) {
  const [token, setToken] = useState('');
  const [demoProblem, setDemoProblem] = useState<string | null>(null);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => field.current?.focus(), [problem]);
  const said = demoProblem ?? problem?.words();

  const submit = (event: Event) => {
    event.preventDefault();
    if (token.trim()) signInWith(token);
  };
  const tryDemo = () => signInAsDemo().catch((thrown) => setDemoProblem(demoWords(Problem.of(thrown))));

  return (
    <section class="card sign-in" aria-labelledby="sign-in-title">
      <h1 id="sign-in-title">Sign in</h1>
      <p class="muted">
        Paste a token to upload and see your files. <code>outport token</code> prints one.
      </p>
      {said && (
        <p class="problem" role="alert">
          {said}
        </p>
      )}
      <form onSubmit={submit}>
        <label for="token">Token</label>
        <input
          id="token"
          ref={field}
          class="field"
          type="password"
          autocomplete="off"
          spellcheck={false}
          required
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <div class="row">
          <button type="submit" class="button primary">
            Sign in
          </button>
          <button type="button" class="button quiet" onClick={tryDemo}>
            Try the demo
          </button>
        </div>
      </form>
    </section>
  );
}

function demoWords(problem: Problem): string {
  return problem.status === 404 ? 'This server has no demo. A token is needed.' : problem.words();
}
