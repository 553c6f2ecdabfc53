//! The served document, and what it says of a response.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use cluster_operator::consul::Response;
use jsonschema::Validator;
use serde_json::{Map, Value, json};

use crate::worlds::{ask, everything};

/// The document as a server sends it.
pub(crate) struct Document {
    pub(crate) root: Value,
    /// The same, without leave to add properties to the described ones.
    strict: Value,
    operations: Vec<Operation>,
    validators: RefCell<BTreeMap<String, Validator>>,
    /// The operations, statuses and media types of the responses.
    responses: RefCell<BTreeSet<(String, u16, String)>>,
    /// The properties in their bodies, as pointers to their schemas.
    properties: RefCell<BTreeSet<String>>,
}

/// A method of a path.
#[derive(Clone)]
pub(crate) struct Operation {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) id: String,
    /// The pointer to its description.
    pointer: String,
}

/// The media type of a response without a body.
const NONE: &str = "";

impl Document {
    pub(crate) fn served() -> Self {
        let answer = ask("GET", "openapi.json").send(&everything());
        assert_eq!(answer.status, 200);
        let root: Value = serde_json::from_slice(&answer.body).unwrap();
        let mut strict = root.clone();
        forbid_others(&mut strict);
        Document {
            operations: operations(&root),
            root,
            strict,
            validators: RefCell::default(),
            responses: RefCell::default(),
            properties: RefCell::default(),
        }
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// The parameters of an operation: its own, or those of its path.
    pub(crate) fn parameters(&self, operation: &Operation, own: bool) -> Vec<&Value> {
        let item = &self.root["paths"][&operation.path];
        let listed = if own {
            &item[operation.method.to_lowercase()]["parameters"]
        } else {
            &item["parameters"]
        };
        let listed = listed.as_array().into_iter().flatten();
        listed.map(|parameter| self.resolved(parameter)).collect()
    }

    fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str() {
            Some(target) => self.root.pointer(target.trim_start_matches('#')).unwrap(),
            None => value,
        }
    }

    /// The pointer to what a reference at `pointer` refers to, or `pointer`.
    fn follow(&self, pointer: String) -> String {
        match self.strict.pointer(&pointer).unwrap()["$ref"].as_str() {
            Some(target) => self.follow(target.trim_start_matches('#').to_owned()),
            None => pointer,
        }
    }

    /// Checks a value against the schema at `pointer`.
    fn validate(&self, pointer: &str, value: &Value) -> Result<(), String> {
        let mut validators = self.validators.borrow_mut();
        let validator = validators.entry(pointer.to_owned()).or_insert_with(|| {
            let mut schema = self.strict.clone();
            schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
            schema["$ref"] = format!("#{pointer}").into();
            jsonschema::options()
                .should_validate_formats(true)
                .build(&schema)
                .unwrap_or_else(|error| panic!("{pointer}: {error}"))
        });
        let errors: Vec<_> = validator
            .iter_errors(value)
            .map(|error| format!("{error} at {}", error.instance_path()))
            .collect();
        if errors.is_empty() {
            Ok(())
        } else {
            Err(format!("{pointer}: {}: {value}", errors.join("; ")))
        }
    }

    /// Tells whether a parameter may have this value, which is written as in a query.
    pub(crate) fn allows(&self, parameter: &Value, text: &str) -> bool {
        if text.is_empty() && parameter["allowEmptyValue"] == true {
            return true;
        }
        let schema = self.resolved(&parameter["schema"]);
        let schema = match schema["type"].as_str() {
            Some("array") => self.resolved(&schema["items"]),
            _ => schema,
        };
        let value = match schema["type"].as_str() {
            Some("string") => Value::from(text),
            _ => match serde_json::from_str(text) {
                Ok(value) => value,
                Err(_) => return false,
            },
        };
        // A number that is larger than 64 bits is read as a float.
        !value.is_f64() && jsonschema::is_valid(schema, &value)
    }

    /// Checks the body of a request.
    pub(crate) fn allows_body(&self, operation: &Operation, body: &Value) -> Result<(), String> {
        let content = "requestBody/content/application~1json/schema";
        self.validate(&format!("{}/{content}", operation.pointer), body)
    }

    /// Checks a response, and remembers it.
    pub(crate) fn check(
        &self,
        method: &str,
        path: &str,
        response: &Response,
    ) -> Result<(), String> {
        let (wanted, is_head) = match method {
            "HEAD" => ("GET", true),
            method => (method, false),
        };
        let operations = self.operations.iter();
        let mut at_path = operations.filter(|operation| operation.path == path);
        let Some(operation) = at_path.clone().find(|operation| operation.method == wanted) else {
            return match (at_path.next(), method, response.status) {
                (Some(_), "OPTIONS", 200) if response.header("allow").is_some() => Ok(()),
                (Some(_), "OPTIONS", 400 | 431) | (Some(_), _, 400 | 405 | 431) => Ok(()),
                (None, _, 400 | 404 | 431) => Ok(()),
                (_, _, status) => Err(format!("{status} for an unknown operation")),
            };
        };
        let (id, status) = (&operation.id, response.status);
        let pointer = format!("{}/responses/{status}", operation.pointer);
        if self.strict.pointer(&pointer).is_none() {
            return Err(format!("{id} has no {status}"));
        }
        let pointer = self.follow(pointer);
        self.check_headers(&pointer, response)?;
        let media = response.header("content-type").unwrap_or(NONE);
        let media = media.split(';').next().unwrap_or_default();
        let content = format!("{pointer}/content");
        match self.strict.pointer(&content) {
            None if media != NONE || !response.body.is_empty() => {
                return Err(format!("{id} {status} has a body"));
            }
            None => {}
            Some(_) if is_head => {
                return match &*response.body {
                    b"" => Ok(()),
                    _ => Err(format!("HEAD of {id} has a body")),
                };
            }
            Some(content_types) if content_types[media].is_null() => {
                return Err(format!("{id} {status} is {media:?}"));
            }
            Some(_) => {
                let body = match media {
                    "text/plain" => String::from_utf8(response.body.to_vec())
                        .map_err(|error| error.to_string())?
                        .into(),
                    _ => {
                        serde_json::from_slice(&response.body).map_err(|error| error.to_string())?
                    }
                };
                let schema = self.follow(format!("{content}/{}/schema", escape(media)));
                self.validate(&schema, &body)?;
                self.mark(schema, &body);
            }
        }
        let mut responses = self.responses.borrow_mut();
        responses.insert((id.clone(), status, media.to_owned()));
        Ok(())
    }

    fn check_headers(&self, response_pointer: &str, response: &Response) -> Result<(), String> {
        let described = format!("{response_pointer}/headers");
        let none = Map::new();
        let names = self.strict.pointer(&described).and_then(Value::as_object);
        let names = names.unwrap_or(&none);
        for (name, value) in &response.headers {
            if matches!(*name, "Content-Type" | "Content-Length") {
                continue;
            }
            if !names.contains_key(*name) {
                return Err(format!("{response_pointer} has no header {name}"));
            }
            let header = self.follow(format!("{described}/{name}"));
            let schema = self.follow(format!("{header}/schema"));
            let value = match &self.strict.pointer(&schema).unwrap()["type"] {
                kind if kind == "integer" => serde_json::from_str(value).unwrap_or_default(),
                _ => Value::from(&**value),
            };
            self.validate(&schema, &value)?;
            self.properties.borrow_mut().insert(header);
        }
        for name in names.keys() {
            let header = self.follow(format!("{described}/{name}"));
            let is_required = self.strict.pointer(&header).unwrap()["required"] == true;
            if is_required && response.header(name).is_none() {
                return Err(format!("{response_pointer} lacks the header {name}"));
            }
        }
        Ok(())
    }

    /// Remembers the properties of a body.
    fn mark(&self, schema: String, body: &Value) {
        let schema = self.follow(schema);
        let described = self.strict.pointer(&schema).unwrap();
        let alternatives = described["oneOf"].as_array().map_or(0, Vec::len);
        for alternative in 0..alternatives {
            let alternative = format!("{schema}/oneOf/{alternative}");
            if self.validate(&alternative, body).is_ok() {
                self.properties.borrow_mut().insert(alternative.clone());
                self.mark(alternative, body);
            }
        }
        match body {
            Value::Object(members) => {
                for (name, member) in members {
                    if !described["properties"][name].is_null() {
                        let property = format!("{schema}/properties/{}", escape(name));
                        self.properties.borrow_mut().insert(property.clone());
                        self.mark(property, member);
                    } else if described["additionalProperties"].is_object() {
                        self.mark(format!("{schema}/additionalProperties"), member);
                    }
                }
            }
            Value::Array(elements) => {
                for element in elements {
                    if !described["items"].is_null() {
                        self.mark(format!("{schema}/items"), element);
                    }
                }
                let places = described["prefixItems"].as_array().map_or(0, Vec::len);
                for (place, element) in elements.iter().take(places).enumerate() {
                    self.mark(format!("{schema}/prefixItems/{place}"), element);
                }
            }
            _ => {}
        }
    }

    /// The responses that are described and have not been seen.
    pub(crate) fn missing_responses(&self) -> Vec<(String, u16, String)> {
        let mut missing = Vec::new();
        for operation in self.operations() {
            let pointer = format!("{}/responses", operation.pointer);
            let statuses = self.strict.pointer(&pointer).unwrap().as_object().unwrap();
            for (status, response) in statuses {
                let content = self.resolved(response)["content"].as_object();
                let media = content.map_or(vec![NONE.to_owned()], |content| {
                    content.keys().cloned().collect()
                });
                for media in media {
                    let response = (operation.id.clone(), status.parse().unwrap(), media);
                    if !self.responses.borrow().contains(&response) {
                        missing.push(response);
                    }
                }
            }
        }
        missing
    }

    /// The properties, alternatives and headers that are described and have not been seen.
    pub(crate) fn missing_properties(&self) -> Vec<String> {
        let mut described = BTreeSet::new();
        for kind in ["schemas", "headers"] {
            let components = self.strict["components"][kind].as_object().unwrap();
            for (name, component) in components {
                let pointer = format!("/components/{kind}/{name}");
                match kind {
                    // What clients send has other tests.
                    "schemas"
                        if matches!(&**name, "KeyringChange" | "AutopilotChange" | "Threshold") => {
                    }
                    "schemas" => list_properties(component, &pointer, &mut described),
                    _ => {
                        described.insert(pointer);
                    }
                }
            }
        }
        let seen = self.properties.borrow();
        described.difference(&seen).cloned().collect()
    }
}

fn operations(root: &Value) -> Vec<Operation> {
    let paths = root["paths"].as_object().unwrap().iter();
    let operations = paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        let methods = methods.filter(|(name, _)| *name != "parameters");
        methods.map(move |(method, operation)| Operation {
            method: method.to_uppercase(),
            path: path.clone(),
            id: operation["operationId"].as_str().unwrap().to_owned(),
            pointer: format!("/paths/{}/{method}", escape(path)),
        })
    });
    operations.collect()
}

/// Lists the pointers to the properties and alternatives of a schema.
fn list_properties(schema: &Value, pointer: &str, described: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let pointer = format!("{pointer}/properties/{}", escape(name));
        list_properties(property, &pointer, described);
        described.insert(pointer);
    }
    for (at, alternative) in schema["oneOf"].as_array().into_iter().flatten().enumerate() {
        let pointer = format!("{pointer}/oneOf/{at}");
        list_properties(alternative, &pointer, described);
        described.insert(pointer);
    }
    for (at, element) in schema["prefixItems"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        list_properties(element, &format!("{pointer}/prefixItems/{at}"), described);
    }
    if schema["items"].is_object() {
        list_properties(&schema["items"], &format!("{pointer}/items"), described);
    }
}

/// Forbids properties that an object's schema does not describe.
fn forbid_others(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let is_object = match &members.get("type") {
                Some(Value::String(kind)) => kind == "object",
                Some(Value::Array(kinds)) => kinds.contains(&json!("object")),
                _ => false,
            };
            if is_object && members.contains_key("properties") {
                members
                    .entry("additionalProperties")
                    .or_insert(Value::Bool(false));
            }
            members.values_mut().for_each(forbid_others);
        }
        Value::Array(elements) => elements.iter_mut().for_each(forbid_others),
        _ => {}
    }
}

fn escape(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
