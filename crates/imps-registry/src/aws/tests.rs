//! Which hosts the SDK calls for the regions and switches that a Secret can have, seen at the HTTP client.

use std::sync::{Arc, Mutex};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use imps_core::exchange::ExchangeFault;
use imps_core::name::SecretRef;
use imps_core::source::Document;
use imps_core::token::Token;

use super::SECRET_TYPE;
use crate::{BoxFuture, Outside, ServiceAccountTokens, exchange};

/// Notes what it is asked and answers as STS and ECR would.
#[derive(Clone, Default, Debug)]
struct Notebook(Arc<Mutex<Vec<(String, String)>>>);

const ROLE: &str = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA</AccessKeyId>\
                    <SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>\
                    <Expiration>2028-01-01T01:00:00Z</Expiration></Credentials></AssumeRoleResult>\
                    </AssumeRoleResponse>";

impl HttpConnector for Notebook {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let scope = request.headers().get("authorization").unwrap_or_default();
        let scope = scope.split(['/', ',']).skip(2).take(2).collect::<Vec<_>>().join("/");
        self.0.lock().unwrap().push((request.uri().to_owned(), scope));
        let sts = request.headers().get("x-amz-target").is_none();
        // `QVdTOng=` is AWS:x. The private API answers a list, the public one an object.
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = match target.starts_with("Spencer") {
            _ if sts => ROLE,
            true => r#"{"authorizationData":{"authorizationToken":"QVdTOng="}}"#,
            false => r#"{"authorizationData":[{"authorizationToken":"QVdTOng="}]}"#,
        };
        let status = 200.try_into().unwrap();
        HttpConnectorFuture::ready(Ok(HttpResponse::new(status, body.into())))
    }
}

impl HttpClient for Notebook {
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

struct NoTokens;

impl ServiceAccountTokens for NoTokens {
    fn token<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Token, ExchangeFault>> {
        unreachable!("the Secret has keys")
    }
}

async fn called(partition: &str, changes: &[(&str, &str)]) -> Vec<(String, String)> {
    let role = format!("arn:{partition}:iam::123456789012:role/x");
    let mut document = Document { secret_type: SECRET_TYPE.into(), ..Document::default() };
    let usual =
        [("accessKeyID", "AKID"), ("secretKey", "s"), ("accountID", "123456789012"), ("roleArn", &role)];
    for (key, value) in usual.iter().chain(changes) {
        document.data.insert((*key).into(), value.as_bytes().to_vec().into());
    }
    let notebook = Notebook::default();
    let outside = Outside::new(Arc::new(NoTokens)).with_http(SharedHttpClient::new(notebook.clone()));
    let answer = exchange(&outside, &SecretRef::new("a", "b"), &document).await;
    assert!(answer.is_ok(), "{changes:?}: {answer:?}");
    notebook.0.lock().unwrap().clone()
}

#[tokio::test]
async fn every_partition_is_called_where_it_is() {
    #[rustfmt::skip]
    let cases = [
        ("aws", "us-east-1", "", "sts.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"),
        ("aws", "us-east-1", "fips", "sts-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
        ("aws", "us-east-1", "dualStack", "sts.us-east-1.api.aws", "ecr.us-east-1.api.aws"),
        ("aws", "us-east-1", "both", "sts-fips.us-east-1.api.aws", "ecr-fips.us-east-1.api.aws"),
        ("aws", "eu-west-1", "", "sts.eu-west-1.amazonaws.com", "api.ecr.eu-west-1.amazonaws.com"),
        ("aws", "zz-new-1", "", "sts.zz-new-1.amazonaws.com", "api.ecr.zz-new-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "", "sts.us-gov-west-1.amazonaws.com", "api.ecr.us-gov-west-1.amazonaws.com"),
        ("aws-us-gov", "us-gov-west-1", "fips",
            "sts.us-gov-west-1.amazonaws.com", "api.ecr-fips.us-gov-west-1.amazonaws.com"),
        ("aws-cn", "cn-north-1", "", "sts.cn-north-1.amazonaws.com.cn", "api.ecr.cn-north-1.amazonaws.com.cn"),
        ("aws-cn", "cn-north-1", "dualStack",
            "sts.cn-north-1.api.amazonwebservices.com.cn", "ecr.cn-north-1.api.amazonwebservices.com.cn"),
        ("aws-iso", "us-iso-east-1", "", "sts.us-iso-east-1.c2s.ic.gov", "api.ecr.us-iso-east-1.c2s.ic.gov"),
        ("aws-iso-b", "us-isob-east-1", "",
            "sts.us-isob-east-1.sc2s.sgov.gov", "api.ecr.us-isob-east-1.sc2s.sgov.gov"),
        ("aws-iso-e", "eu-isoe-west-1", "",
            "sts.eu-isoe-west-1.cloud.adc-e.uk", "api.ecr.eu-isoe-west-1.cloud.adc-e.uk"),
        ("aws-iso-f", "us-isof-south-1", "",
            "sts.us-isof-south-1.csp.hci.ic.gov", "api.ecr.us-isof-south-1.csp.hci.ic.gov"),
        ("aws-eusc", "eusc-de-east-1", "", "sts.eusc-de-east-1.amazonaws.eu", "api.ecr.eusc-de-east-1.amazonaws.eu"),
    ];
    for (partition, region, switches, sts, ecr) in cases {
        let mut changes = vec![("region", region)];
        changes.extend(
            ["fips", "dualStack"]
                .into_iter()
                .filter(|key| [key, "both"].contains(&switches))
                .map(|key| (key, "true")),
        );
        let expected = [
            (format!("https://{sts}/"), format!("{region}/sts")),
            (format!("https://{ecr}/"), format!("{region}/ecr")),
        ];
        assert_eq!(called(partition, &changes).await, expected, "{region} {switches}");
    }
}

#[tokio::test]
async fn the_public_gallery_is_asked_in_its_one_region() {
    let expected = |sts: &str, region: &str, host: &str| {
        [
            (format!("https://{sts}/"), format!("{region}/sts")),
            (format!("https://{host}/"), "us-east-1/ecr-public".into()),
        ]
    };
    let usual = "api.ecr-public.us-east-1.amazonaws.com";
    let public = ("accountID", "public");
    assert_eq!(called("aws", &[public]).await, expected("sts.us-east-1.amazonaws.com", "us-east-1", usual));
    assert_eq!(
        called("aws", &[public, ("region", "eu-west-1")]).await,
        expected("sts.eu-west-1.amazonaws.com", "eu-west-1", usual)
    );
    assert_eq!(
        called("aws", &[public, ("dualStack", "true")]).await,
        expected("sts.us-east-1.api.aws", "us-east-1", "ecr-public.us-east-1.api.aws")
    );
}

#[tokio::test]
async fn addresses_that_are_given_are_taken_as_they_are() {
    let own = [
        ("region", "us-east-1"),
        ("fips", "true"),
        ("dualStack", "true"),
        ("endpoint", "https://ecr.example.com:8443"),
        ("stsEndpoint", "https://sts.example.com"),
    ];
    let hosts: Vec<String> = called("aws", &own).await.into_iter().map(|(url, _)| url).collect();
    assert_eq!(hosts, ["https://sts.example.com/", "https://ecr.example.com:8443/"]);
}
